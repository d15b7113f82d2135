"""Whisper's log-mel with 128 bins at 100 Hz (docs/model.md, sections 1 and 2)."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
import librosa
import numpy as np
from jaxtyping import Float, Float32, Int

from fac_jax.types import Array

RATE: int = 16000  # Hz
WINDOW: int = 400  # samples of one Hann window, and size of the transform
HOP: int = 160  # samples between frames: 100 Hz
BINS: int = 128
CHUNK_FRAMES: int = 3000  # mel frames of Whisper's 30 s

Padding = Literal["longest", "max_length"]


@functools.cache
def filterbank() -> Float32[np.ndarray, "frequencies bins"]:
    """Returns Slaney mel filters for `WINDOW // 2 + 1` frequencies."""
    return librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=BINS).T.astype(np.float32)


def mel_frames(samples: int, padding: Padding = "longest") -> int:
    """Returns the number of mel frames of `samples` samples: `N // 160`, or `ceil(N / 160)` under "max_length"."""
    return samples // HOP if padding == "longest" else -(-samples // HOP)


def _extend(wave: jax.Array, lengths: jax.Array, size: int, padding: Padding) -> jax.Array:
    """Adds `WINDOW / 2` mirrored samples before every clip, and its padding after it: `[.., size]`."""
    index = jnp.arange(size) - WINDOW // 2
    length = lengths[..., None]
    if padding == "longest":
        period = jnp.maximum(2 * (length - 1), 1)
        folded = index % period
        index = jnp.minimum(folded, period - folded)
    else:
        index = jnp.broadcast_to(jnp.abs(index), (*lengths.shape, size))
    inside = index < length
    taken = jnp.take_along_axis(wave, jnp.minimum(index, wave.shape[-1] - 1), axis=-1)
    return jnp.where(inside, taken, 0.0)


def hann() -> Float32[np.ndarray, " window"]:
    """Returns the periodic Hann window of `WINDOW` samples."""
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


def log10_power(hops: Float[jax.Array, "*batch hops hop"]) -> Float[jax.Array, "*batch M bins"]:
    """Computes log10 of the mel power of the frame that starts at each hop, at least -10.

    Args:
      hops: M + 2 consecutive pieces of `HOP` samples, float32; half of the last piece is used.

    Returns:
      float32, M frames.
    """
    framed = jnp.concatenate([hops[..., :-2, :], hops[..., 1:-1, :], hops[..., 2:, : WINDOW - 2 * HOP]], axis=-1)
    spectrum = jnp.fft.rfft(framed * hann())
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = jnp.matmul(power, filterbank(), precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(jnp.maximum(mel, 1e-10))


@functools.partial(jax.jit, static_argnames="padding")
def log_mel(
    wave: Float[Array, "*batch N"], lengths: Int[Array, "*batch"] | None = None, padding: Padding = "longest"
) -> Float[jax.Array, "*batch M bins"]:
    """Computes Whisper's log-mel: log10 of the mel power, at most 8 below the clip's loudest bin, then `(x + 4) / 4`.

    A clip that is padded to a static length gives the same frames as the clip by itself: the mirrored edge and the
    loudest bin depend on the clip's own length. The release has two paddings:
      - "longest": nothing is appended, the clip's end is mirrored, and there are `N // 160` frames. The release's mask
        counts one frame more if N is no multiple of 160; that frame has no features, so it does not exist here.
      - "max_length": zeros up to 30 s follow the clip, and `ceil(N / 160)` frames are its own. The loudest bin includes
        the two frames after the end that still overlap the clip. Frames of zeros are not computed.

    Args:
      wave: samples at 16 kHz.
      lengths: valid samples of every clip, int32; None means all N.
      padding: one of the two paddings.

    Returns:
      float32, M = `mel_frames(N, padding)` frames, zero after a clip's own frames.
    """
    wave = jnp.asarray(wave, jnp.float32)
    if lengths is None:
        lengths = jnp.full(wave.shape[:-1], wave.shape[-1], jnp.int32)
    frames = mel_frames(wave.shape[-1], padding)
    own = lengths // HOP if padding == "longest" else -(-lengths // HOP)
    counted = own if padding == "longest" else jnp.minimum(own + 2, jnp.maximum(own, CHUNK_FRAMES))
    computed = frames if padding == "longest" else frames + 2

    extended = _extend(wave, jnp.asarray(lengths), (computed + 2) * HOP, padding)
    log = log10_power(extended.reshape(*wave.shape[:-1], computed + 2, HOP))
    index = jnp.arange(computed)[:, None]
    loudest = jnp.max(log, axis=(-2, -1), keepdims=True, initial=-10.0, where=index < counted[..., None, None])
    scaled = (jnp.maximum(log, loudest - 8.0) + 4.0) / 4.0
    return jnp.where(index < own[..., None, None], scaled, 0.0)[..., :frames, :]
