"""Which host takes which items of the one endless stream, and how their places go on with another number of hosts."""

import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class HostShard:
    """One host's items: one of every `hosts` consecutive ones, in a turn that changes.

    The turn changes because a mixture repeats its pattern of sources: every second item may be of one source.

    Attributes:
      host: number of the host, from 0.
      hosts: how many there are.
      base: number of the first item that is divided among them.
    """

    host: int = 0
    hosts: int = 1
    base: int = 0

    def number(self, drawn: int) -> int:
        """Number in the stream of the host's item `drawn`, counted from 0."""
        block = self.base + drawn * self.hosts
        turn = zlib.crc32(block.to_bytes(8, "little"))
        return block + (self.host + turn) % self.hosts


ALONE = HostShard()


def resharded(states: Sequence[dict[str, Any]], hosts: int) -> list[dict[str, Any]]:
    """States of another number of hosts that go on where these are: nothing is lost, nothing seen twice.

    What some hosts have drawn and others not, and what waits in their packing, is divided first.

    Args:
      states: of every host, one at least, taken after the same batch (`get_state` of `packed_loading.load_packed`).
      hosts: their new number; the state of host h is the h-th returned.

    Raises:
      InputError: a host's state is missing or there twice, or they are of different runs.
    """
    before = states[0]["hosts"]
    if sorted(state["host"] for state in states) != list(range(before)):
        told = ", ".join(str(state["host"]) for state in states)
        raise InputError(f"states of hosts {told} were given; hand over those of all {before} hosts")
    if any((s["base"], s["hosts"], s["sources"]) != (states[0]["base"], before, states[0]["sources"]) for s in states):
        raise InputError("the hosts' states are not of the same run; hand over those of one checkpoint")
    base, drawn = states[0]["base"], max(state["drawn"] for state in states)
    pending = [number for state in states for number in state["waiting"]]
    for state in states:
        share = HostShard(state["host"], before, base)
        pending += [share.number(i) for i in range(state["drawn"], drawn)]
    shared = {"sources": states[0]["sources"], "hosts": hosts, "base": base + drawn * before, "drawn": 0}
    return [{**shared, "host": host, "waiting": sorted(pending)[host::hosts]} for host in range(hosts)]
