"""Runs a load test: many clients talk to a server at once, each in real time."""

import asyncio
import dataclasses
import ipaddress
import math
import socket
import time
import urllib.parse
from typing import Final

from fac_jax.serving.load.client import Client, Load, Shared
from fac_jax.serving.load.figures import LoadReport, Turn, summary
from fac_jax.serving.load.watch import Watch, cores, resources
from fac_jax.types import InputError

MOST_SESSIONS: Final = 1000
MOST_SECONDS: Final = 3600.0
PATH: Final = "/v1/realtime"


def run_load(load: Load) -> tuple[LoadReport, list[Turn]]:
    """Runs a load test, which ends by itself, and returns its figures and all turns.

    Raises:
      InputError: too many sessions or seconds, shares of more than all sessions, a silent wave, a URL that is none or
        leads to another machine, or no server there.
    """
    if not (1 <= load.sessions <= MOST_SESSIONS and 0 < load.seconds <= MOST_SECONDS):
        raise InputError(f"a load test has 1 to {MOST_SESSIONS} sessions and at most {MOST_SECONDS:.0f} seconds")
    if not (min(load.cancelling, load.vanishing) >= 0 and load.cancelling + load.vanishing <= 1):
        raise InputError("the shares of cancelling and vanishing sessions are 0 to 1, and together at most 1")
    if not load.wave.any():
        raise InputError("the question of a load test is silent")
    return asyncio.run(_run(load, endpoint(load.url, load.anywhere)))


def endpoint(url: str, anywhere: bool = False) -> str:
    """Returns the URL of a server's realtime endpoint; `anywhere` allows other machines than this one.

    Raises:
      InputError: it is no URL, or leads to another machine, or nobody answers there.
    """
    parts = urllib.parse.urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    try:
        host, port = parts.hostname, parts.port or (443 if scheme == "wss" else 80)
    except ValueError:  # a port that is no number
        host, port = None, 0
    if host is None or scheme not in ("ws", "wss"):
        raise InputError(f"{url} is no URL of a server, such as ws://127.0.0.1:8000")
    try:
        addresses = {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        if not anywhere and not all(ipaddress.ip_address(one).is_loopback for one in addresses):
            raise InputError(f"{host} is another machine: a load test loads only this one, unless told otherwise")
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        raise InputError(f"{url}: no server answers there ({error})") from error
    path = PATH if parts.path in ("", "/") else parts.path
    return urllib.parse.urlunsplit((scheme, parts.netloc, path, parts.query, ""))


async def _run(load: Load, url: str) -> tuple[LoadReport, list[Turn]]:
    began, processor = time.perf_counter(), time.process_time()
    shared = Shared(load, url, began + load.seconds)
    # A small share of a few sessions is one of them, not none.
    cancelling, vanishing = (math.ceil(share * load.sessions - 1e-6) for share in (load.cancelling, load.vanishing))
    watch = Watch(url, load.watch_s)
    watching = asyncio.create_task(watch.run()) if load.watch_s else None
    async with asyncio.TaskGroup() as group:
        for number in range(load.sessions):
            client = Client(shared, number, number < cancelling, 0 <= number - cancelling < vanishing)
            group.create_task(client.run())
    seconds, client_cores = time.perf_counter() - began, (time.process_time() - processor)
    if watching is not None:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await watch.after()
    report = dataclasses.replace(
        summary(shared.turns, shared.errors, load.sessions, seconds),
        resumed=shared.resumed,
        client_cores=client_cores / seconds,
        server_cores=cores(watch.seen),
        resources=resources(watch.seen),
    )
    return report, shared.turns
