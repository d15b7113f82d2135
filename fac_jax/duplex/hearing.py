"""Log-mels of a whole call on the host, as its model hears them: for rows whose features are not stored."""

import functools
from typing import Final

import jax
import numpy as np
from jaxtyping import Float, Float32

from fac_jax.duplex.call import SLOT, SLOT_FRAMES
from fac_jax.duplex.ears import recorded_loudest, recorded_mel, recorded_powers, trailing_mel, window_slots
from fac_jax.models.config import ModelConfig

BUCKET: Final = 25  # slots to whose multiples calls are filled up: one compilation each


def call_mels(user: Float[np.ndarray, " N"], model: ModelConfig) -> tuple[Float32[np.ndarray, "_M bins"], ...]:
    """Returns what `layout.lay_out` takes of a user's channel of whole slots at 16 kHz.

    For "block" it is the log-mel of the whole channel, for "slide" that of the trailing window of every slot.
    """
    assert model.duplex is not None
    slots = len(user) // SLOT
    filled = np.pad(user, (0, -slots % BUCKET * SLOT))[None]
    bins, floor = model.mel_bins, model.duplex.loudest_floor
    if model.duplex.stream == "block":
        return (np.asarray(_whole(filled, bins, floor))[0, : slots * SLOT_FRAMES],)
    window = window_slots(model)
    clips = np.asarray(_trailing(filled, bins, floor, window))[0]
    return tuple(clips[slot, : min(slot + 1, window) * SLOT_FRAMES] for slot in range(slots))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _whole(waves: jax.Array, bins: int, floor: float) -> jax.Array:
    return recorded_mel(waves, bins, floor)


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _trailing(waves: jax.Array, bins: int, floor: float, window: int) -> jax.Array:
    loudest = recorded_loudest(recorded_powers(waves, bins), floor)
    return trailing_mel(waves, np.arange(waves.shape[1] // SLOT), loudest, window, bins)
