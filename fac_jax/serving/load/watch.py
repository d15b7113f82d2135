"""Watches the resources of a server during a load test, by its `/metrics`."""

import asyncio
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from fac_jax.serving.load.figures import Resource

CPU: Final = "process_cpu_seconds_total"
WATCHED: Final = (
    *("process_resident_memory_bytes", "process_open_fds", "fac_threads", "fac_tasks", "fac_sessions"),
    *("fac_sessions_kept", "fac_slots_used", "fac_queue_depth", "fac_kv_bytes_used", "fac_kv_bytes_parked"),
    "fac_heard_bytes",
)
SETTLED_S: Final = 1.0  # after the last client has gone
FIFTHS: Final = 5

Seen: TypeAlias = tuple[float, Mapping[str, float]]  # when, and values by name


def metrics_url(url: str) -> str:
    """Returns where the server of a realtime endpoint shows its metrics."""
    parts = urllib.parse.urlsplit(url)
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    return urllib.parse.urlunsplit((scheme, parts.netloc, "/metrics", "", ""))


class Watch:
    """Looks at a server from time to time.

    Attributes:
      seen: what was seen.
    """

    def __init__(self, url: str, every_s: float) -> None:
        """Takes the URL of a server's realtime endpoint, and the seconds between two looks."""
        self._url, self._every_s = metrics_url(url), every_s
        self.seen: list[Seen] = []

    async def run(self) -> None:
        """Looks until it is cancelled; a server that does not answer is looked at again later."""
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Looks once."""
        try:
            self.seen.append((time.perf_counter(), values(await asyncio.to_thread(_read, self._url))))
        except OSError:  # it is being restarted
            return

    async def after(self) -> None:
        """Looks once more, when all clients have gone."""
        await asyncio.sleep(SETTLED_S)
        await self.look()


def values(text: str) -> dict[str, float]:
    """Reads the metrics without labels out of prometheus' text format."""
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.MULTILINE)}


def cores(seen: Sequence[Seen]) -> float:
    """Returns the processor time of a server over time, from the first look to the last but one."""
    during = seen[:-1]
    if len(during) < 2:
        return np.nan
    (begin, first), (end, last) = during[0], during[-1]
    return (last[CPU] - first[CPU]) / (end - begin)


def resources(seen: Sequence[Seen]) -> dict[str, Resource]:
    """Returns what a server held; the last look is the one when all clients had gone. None where there are too few."""
    during = seen[:-1]
    fifth = len(during) // FIFTHS
    if not fifth:
        return {}
    found = {}
    for name in WATCHED:
        early, late = (
            float(np.median([held[name] for _, held in some])) for some in (during[fifth : 2 * fifth], during[-fifth:])
        )
        found[name] = Resource(early, late, seen[-1][1][name])
    return found


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()
