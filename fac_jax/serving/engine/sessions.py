"""What is kept of conversations between their turns: in a slot, in host memory, or not at all."""

import dataclasses
from collections import OrderedDict

import jax
import numpy as np

from fac_jax.batching.grid import Example
from fac_jax.generation.turns import agreement
from fac_jax.models.config import ModelConfig
from fac_jax.serving.engine.device import Device
from fac_jax.serving.engine.programs import Kept
from fac_jax.types import Kind


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """What a slot holds of a conversation.

    Attributes:
      example: the conversation, a last reply closed (`batching.generated`).
      held: LLM positions of it that the slot's caches hold as a prompt would.
      adapter: whose model has computed them (`Talk.adapter`).
    """

    example: Example
    held: int
    adapter: int = 0

    def kept(self, prompt: Example, adapter: int, config: ModelConfig) -> int:
        """Returns how many positions are also those of a prompt; a changed or shortened past is known by its ids."""
        if adapter != self.adapter:
            return 0
        return max(0, min(self.held, agreement(self.example, prompt, config) - 1))


def record_of(example: Example, prompt: int, made: int, adapter: int, config: ModelConfig) -> Record:
    """Returns the record of a conversation whose last reply has `made` text ids behind `prompt` positions.

    What `generation.turns.kept_positions` leaves out is left out here: the refined head has read its own picks in the
    group that ended speech, and with `head_prefill="release"` a prompt reads no earlier reply.
    """
    held = prompt + made - 1
    spoken = np.flatnonzero(example.kind[prompt:] == Kind.JOINT)
    if len(spoken):
        held = min(held, prompt + int(spoken[-1]))
    return Record(example, min(held, prompt - 1) if config.head_prefill == "release" else held, adapter)


@dataclasses.dataclass(eq=False)
class _Stored:
    """A conversation in host memory; its arrays come from the device a little later (`Sessions.settle`)."""

    record: Record
    kept: Kept
    bytes: int


class Sessions:
    """Decides which conversations stay in the slots that nobody uses.

    A session that is asked for again finds its slot as it left it. When another request needs the slot, the session
    that has rested longest is copied to host memory; beyond `host_bytes` of copies the oldest is forgotten.
    """

    def __init__(self, device: Device, config: ModelConfig, host_bytes: int) -> None:
        """Begins with empty slots."""
        self._device, self._config, self._most = device, config, host_bytes
        self._stored: OrderedDict[str, _Stored] = OrderedDict()
        self._settling: list[_Stored] = []
        self.host_bytes = 0
        self.reset()

    def reset(self) -> None:
        """Forgets what was in the slots, which are empty again."""
        self._empty = list(range(self._device.slots))
        self._resting: OrderedDict[str, tuple[int, Record]] = OrderedDict()

    @property
    def free(self) -> int:
        """Returns the number of slots that a request could have."""
        return len(self._empty) + len(self._resting)

    @property
    def kept(self) -> int:
        """Returns the number of sessions of which something is kept."""
        return len(self._resting) + len(self._stored)

    def claim(self, session: str | None, prompt: Example, adapter: int) -> tuple[int, int]:
        """Takes a slot, of which one is free; returns it, and the positions of the prompt that it holds."""
        if session is not None and session in self._resting:
            slot, record = self._resting.pop(session)
            return slot, record.kept(prompt, adapter, self._config)
        slot = self._empty.pop() if self._empty else self._vacate()
        stored = self._forget_stored(session)
        if stored is None:
            return slot, 0
        kept = stored.record.kept(prompt, adapter, self._config)
        if kept:
            self._device.put(slot, stored.kept)
        return slot, kept

    def rest(self, slot: int, session: str | None, record: Record | None) -> None:
        """Gives a slot back; with a session, what it holds is kept, in place of what was kept of it before."""
        if session is None or record is None:
            self._empty.append(slot)
            return
        self.forget(session)
        self._resting[session] = slot, record

    def forget(self, session: str) -> None:
        """Frees what is kept of a session."""
        self._forget_stored(session)
        if session in self._resting:
            self._empty.append(self._resting.pop(session)[0])

    def settle(self) -> None:
        """Takes copies that have arrived off the device."""
        for stored in self._settling:
            stored.kept = jax.tree.map(np.asarray, stored.kept)
        self._settling = []

    def _vacate(self) -> int:
        """Copies the session that has rested longest to the host, and returns its slot."""
        session, (slot, record) = self._resting.popitem(last=False)
        if not record.held:
            return slot
        kept = self._device.take(slot, record.held)
        stored = _Stored(record, kept, sum(leaf.nbytes for leaf in jax.tree.leaves(kept)))
        self._forget_stored(session)
        self._stored[session] = stored
        self._settling.append(stored)
        self.host_bytes += stored.bytes
        while self.host_bytes > self._most:
            self._forget_stored(next(iter(self._stored)))
        return slot

    def _forget_stored(self, session: str | None) -> _Stored | None:
        stored = self._stored.pop(session, None) if session is not None else None
        if stored is not None:
            self.host_bytes -= stored.bytes
            self._settling = [one for one in self._settling if one is not stored]
        return stored
