"""The slots on the device, and how the programs are called."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from fac_jax.batching.grid import Example
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.serving.engine import programs
from fac_jax.serving.engine.config import kept_sizes
from fac_jax.serving.engine.programs import Asked, Kept
from fac_jax.serving.engine.prompts import Piece, lay_out
from fac_jax.types import Params

SHARE = 0.85  # of the free memory that slots may take; the rest is for what programs need while they run
MOST_SLOTS, FEW_SLOTS = 64, 8


class Device:
    """S slots of n positions; only the engine's thread calls it.

    Calls return before the device has done the work. An array that they return is being copied to the host.

    Attributes:
      slots: S.
      length: n.
      reserved_bytes: of all caches.
      kept_sizes: LLM positions that `take` copies, one of these.
      position_bytes: of the caches, for one position of a slot.
    """

    def __init__(self, module: FunAudioChat, params: Params, slots: int, length: int, joint: bool) -> None:
        """Takes a model in the form of generation; `joint` is whether replies may be spoken.

        Its parameters are those of `prepared.prepare`, or with several adapters those of `several.with_adapters`.
        """
        self.slots, self.length = slots, length
        self._module, self._params, self._joint = module, params, joint
        self.kept_sizes = kept_sizes(length)
        self.reserved_bytes = slots_bytes(module, slots, length, joint)
        self.position_bytes = self.reserved_bytes // (slots * length)
        self.reset()

    def reset(self) -> None:
        """Makes fresh slots, all of them empty."""
        self._state: Any = None  # first, since there may be memory for one
        self._state = programs.empty(self._module, slots=self.slots, length=self.length, joint=self._joint)
        self._adapter = np.zeros(self.slots, np.int32)  # of the reply in each slot

    def take_up(self, slot: int, prompt: Example, piece: Piece, asked: Asked) -> jax.Array:
        """Runs a piece of a prompt in a slot that holds what is before it; returns what `programs.told` says."""
        past = np.full((1, self.length), -1, np.int32)
        past[0, : piece.start] = prompt.text_ids[: piece.start]
        at, kept = np.array([slot], np.int32), np.array([piece.start], np.int32)
        batch = lay_out(prompt, piece, self._module.config)
        self._adapter[slot] = np.asarray(asked.adapter)[0]
        self._state, told = programs.take_up(self._module, self._params, self._state, at, kept, past, batch, asked)
        told.copy_to_host_async()
        return told

    def advance(self, going: Bool[np.ndarray, " S"], draws: bool) -> jax.Array:
        """Runs a step of some slots; returns what `programs.told` says."""
        adapter = self._adapter.copy()  # the device may read it when it has changed
        self._state, told = programs.advance(self._module, self._params, self._state, going, adapter, draws=draws)
        told.copy_to_host_async()
        return told

    def take(self, slot: int, positions: int) -> Kept:
        """Copies at least the first positions out of a slot."""
        size = next(size for size in self.kept_sizes if size >= positions)
        kept: Kept = programs.take(self._state, np.int32(slot), size=size)
        for leaf in jax.tree.leaves(kept):
            leaf.copy_to_host_async()
        return kept

    def put(self, slot: int, kept: Kept) -> None:
        """Puts a copy back into a slot."""
        self._state = programs.put(self._state, kept, np.int32(slot))

    def wait(self) -> None:
        """Waits until all work is done."""
        jax.block_until_ready(self._state)


def slots_bytes(module: FunAudioChat, slots: int, length: int, joint: bool) -> int:
    """Returns the bytes of the caches of slots."""
    made = jax.eval_shape(lambda: programs.empty(module, slots=slots, length=length, joint=joint))
    caches = (made.caches, () if made.speech is None else made.speech.caches)
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(caches))


def greatest_slots(module: FunAudioChat, length: int, joint: bool) -> int:
    """Returns how many slots fit into the free memory of the device, 64 at most.

    A prompt program holds the caches of one slot twice. A device that does not tell its memory gets 8.
    """
    known = jax.devices()[0].memory_stats()
    if not known or "bytes_limit" not in known:
        return FEW_SLOTS
    free = SHARE * (known["bytes_limit"] - known["bytes_in_use"])
    return max(1, min(MOST_SLOTS, int(free // slots_bytes(module, 1, length, joint)) - 1))
