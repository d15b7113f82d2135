"""Log-mel of encoder windows from their samples, with static shapes, so that an accelerator can make it."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.audio.mel import HOP, WINDOW, log10_power
from fac_jax.types import Array

HALO = WINDOW - HOP  # samples that the last frame of a window sees behind its own hop


def to_samples(
    clips: Sequence[np.ndarray], windows: int, frames_per_window: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lays clips one behind the other into encoder windows, as `fac_jax.batching.collate` lays their log-mels.

    Args:
      clips: `host_mel.wave_frames` of each, float32 `[M, WINDOW]`; together they fill at most `windows`.
      windows: W.
      frames_per_window: 2n.

    Returns:
      samples float32 `[W, 2n * 160 + 240]`, zero where nothing is heard; mel frames of every window int32 `[W]`; and
      the clip of every window int32 `[W]`, W - 1 for padding.
    """
    samples = np.zeros((windows, frames_per_window * HOP + HALO), np.float32)
    lengths, owners = np.zeros(windows, np.int32), np.full(windows, windows - 1, np.int32)
    window = 0
    for number, clip in enumerate(clips):
        for start in range(0, len(clip), frames_per_window):
            part = clip[start : start + frames_per_window]
            heard = len(part) * HOP
            samples[window, :heard] = part[:, :HOP].reshape(-1)
            samples[window, heard : heard + HALO] = part[-1, HOP:]
            lengths[window], owners[window] = len(part), number
            window += 1
    return samples, lengths, owners


@jax.jit
def window_log_mel(samples: Array, lengths: Array, owners: Array) -> jax.Array:
    """`mel.log_mel` with "longest" padding of every clip, cut into windows: what `Batch.mel_windows` holds.

    Args:
      samples: of `to_samples`.
      lengths: likewise.
      owners: likewise.

    Returns:
      float32 `[W, 2n, 128]`, zero beyond a window's length.
    """
    windows, size = samples.shape
    frames = (size - HALO) // HOP
    padded = jnp.pad(samples, ((0, 0), (0, 2 * HOP - HALO)))
    log = log10_power(padded.reshape(windows, frames + 2, HOP))
    inside = jnp.arange(frames)[:, None] < jnp.asarray(lengths)[:, None, None]
    loudest = jnp.max(log, axis=(-2, -1), initial=-10.0, where=inside)
    of_clip = jax.ops.segment_max(loudest, jnp.asarray(owners), num_segments=windows)[owners]
    return jnp.where(inside, (jnp.maximum(log, of_clip[:, None, None] - 8.0) + 4.0) / 4.0, 0.0)
