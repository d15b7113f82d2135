"""The log-mel of encoder windows from their samples, with static shapes for an accelerator."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fac_jax.audio.mel import HOP, WINDOW, log10_power
from fac_jax.types import Array

HALO = WINDOW - HOP  # samples that the last frame of a window reads after its own hop


def to_samples(
    clips: Sequence[Float[np.ndarray, "_ window"]], windows: int, frames_per_window: int
) -> tuple[Float[np.ndarray, "W samples"], Int[np.ndarray, " W"], Int[np.ndarray, " W"]]:
    """Places the samples of clips into encoder windows in order, as `fac_jax.batching.collate` places log-mels.

    Args:
      clips: `host_mel.wave_frames` of each clip, float32 `[M, WINDOW]`; together they fill at most `windows`.
      windows: W.
      frames_per_window: mel frames of a window, 2n.

    Returns:
      samples float32 `[W, 2n * 160 + 240]`, zero after a window's samples; the number of mel frames of every window,
      int32; and the index of every window's clip, int32, W - 1 for padding.
    """
    samples = np.zeros((windows, frames_per_window * HOP + HALO), np.float32)
    lengths, owners = np.zeros(windows, np.int32), np.full(windows, windows - 1, np.int32)
    window = 0
    for number, clip in enumerate(clips):
        for start in range(0, len(clip), frames_per_window):
            part = clip[start : start + frames_per_window]
            size = len(part) * HOP
            samples[window, :size] = part[:, :HOP].reshape(-1)
            samples[window, size : size + HALO] = part[-1, HOP:]
            lengths[window], owners[window] = len(part), number
            window += 1
    return samples, lengths, owners


@jax.jit
def window_log_mel(
    samples: Float[Array, "W samples"], lengths: Int[Array, " W"], owners: Int[Array, " W"]
) -> Float[jax.Array, "W M bins"]:
    """Computes `mel.log_mel` with "longest" padding of every clip, in windows: the content of `Batch.mel_windows`.

    Args:
      samples: samples of every window, from `to_samples`.
      lengths: mel frames of every window, from `to_samples`.
      owners: clip of every window, from `to_samples`.

    Returns:
      float32, M = 2n frames for each window, zero after a window's length.
    """
    windows, size = samples.shape
    frames = (size - HALO) // HOP
    padded = jnp.pad(samples, ((0, 0), (0, 2 * HOP - HALO)))
    log = log10_power(padded.reshape(windows, frames + 2, HOP))
    inside = jnp.arange(frames)[:, None] < jnp.asarray(lengths)[:, None, None]
    loudest = jnp.max(log, axis=(-2, -1), initial=-10.0, where=inside)
    of_clip = jax.ops.segment_max(loudest, jnp.asarray(owners), num_segments=windows)[owners]
    return jnp.where(inside, (jnp.maximum(log, of_clip[:, None, None] - 8.0) + 4.0) / 4.0, 0.0)
