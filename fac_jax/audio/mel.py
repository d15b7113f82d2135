"""Whisper's log-mel at 100 Hz (docs/model.md, sections 1 and 2).

It has 128 bins, as in Whisper large-v3, or the 80 of all other sizes.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Float, Float32, Int

from fac_jax.types import Array

RATE: int = 16000  # Hz
WINDOW: int = 400  # samples of one Hann window, and size of the transform
HOP: int = 160  # samples between frames: 100 Hz
BINS: int = 128
QUIETEST: float = 1e-10  # mel power that silence counts as
HOST_CHUNK: int = 256  # frames that the host transforms at a time, few enough for the processor's cache


@functools.cache
def filterbank(window: int = WINDOW, bins: int = BINS) -> Float32[np.ndarray, "frequencies bins"]:
    """Returns Slaney mel filters at 16 kHz for `window // 2 + 1` frequencies."""
    return librosa.filters.mel(sr=RATE, n_fft=window, n_mels=bins).T.astype(np.float32)


def mel_frames(samples: Any) -> Any:
    """Returns the mel frames of N samples, integers or arrays: `N // 160`."""
    return samples // HOP


def _extend(wave: jax.Array, lengths: jax.Array, size: int) -> jax.Array:
    """Adds mirrored samples before and after every clip, `WINDOW / 2` before it: `[.., size]`."""
    length = lengths[..., None]
    period = jnp.maximum(2 * (length - 1), 1)
    folded = (jnp.arange(size) - WINDOW // 2) % period
    index = jnp.minimum(folded, period - folded)
    taken = jnp.take_along_axis(wave, jnp.minimum(index, wave.shape[-1] - 1), axis=-1)
    return jnp.where(index < length, taken, 0.0)


def hann(size: int) -> Float32[np.ndarray, " {size}"]:
    """Returns the periodic Hann window of `size` samples."""
    return np.hanning(size + 1)[:-1].astype(np.float32)


def log_power(wave: Float[Array, "*batch N"], lengths: Int[Array, "*batch"], bins: int) -> Float32[jax.Array, "..."]:
    """Computes log10 of the mel power `[*batch, M, bins]`: `log_mel` before its range.

    Args:
      wave: samples at 16 kHz.
      lengths: valid samples of every clip, int32; what follows is replaced by the clip's mirrored end.

    Returns:
      float32, M = `mel_frames(N)` frames; those after a clip's own mean nothing.
    """
    frames = mel_frames(wave.shape[-1])
    extended = _extend(jnp.asarray(wave, jnp.float32), jnp.asarray(lengths), (frames + 2) * HOP)
    hops = extended.reshape(*wave.shape[:-1], frames + 2, HOP)
    framed = jnp.concatenate([hops[..., :-2, :], hops[..., 1:-1, :], hops[..., 2:, : WINDOW - 2 * HOP]], axis=-1)
    spectrum = jnp.fft.rfft(framed * hann(WINDOW))
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = jnp.matmul(power, filterbank(bins=bins), precision=jax.lax.Precision.HIGHEST)
    return jnp.log10(jnp.maximum(mel, QUIETEST))


def in_range(log: Float[jax.Array, "*dims"], loudest: Float[jax.Array, "..."]) -> Float[jax.Array, "*dims"]:
    """Brings log10 powers to Whisper's range: at most 8 below `loudest`, which broadcasts, then `(x + 4) / 4`."""
    return (jnp.maximum(log, loudest - 8.0) + 4.0) / 4.0


@functools.partial(jax.jit, static_argnames="bins")
def log_mel(
    wave: Float[Array, "*batch N"], lengths: Int[Array, "*batch"] | None = None, bins: int = BINS
) -> Float[jax.Array, "*batch M bins"]:
    """Computes Whisper's log-mel: log10 of the mel power, at most 8 below the clip's loudest bin, then `(x + 4) / 4`.

    A clip that is padded to a static length gives the same frames as the clip by itself: the mirrored edge and the
    loudest bin depend on the clip's own length. As in the release's padding "longest", the clip's end is mirrored. The
    release's mask counts one frame more if N is no multiple of 160; that frame has no features, so it does not exist
    here.

    Args:
      wave: samples at 16 kHz.
      lengths: valid samples of every clip, int32; None means all N.

    Returns:
      float32, M = `mel_frames(N)` frames, zero after a clip's own frames.
    """
    if lengths is None:
        lengths = jnp.full(wave.shape[:-1], wave.shape[-1], jnp.int32)
    log = log_power(wave, lengths, bins)
    own = jnp.arange(log.shape[-2])[:, None] < mel_frames(jnp.asarray(lengths))[..., None, None]
    loudest = jnp.max(log, axis=(-2, -1), keepdims=True, initial=math.log10(QUIETEST), where=own)
    return jnp.where(own, in_range(log, loudest), 0.0)


@functools.cache
def _sparse_filters(bins: int) -> scipy.sparse.csr_array:
    """Returns mel filters `[bins, 201]`, of which a sixtieth is not zero.

    A dense product would start BLAS threads, which compete with training.
    """
    return scipy.sparse.csr_array(filterbank(bins=bins).T)


def host_log_mel(wave: Float[np.ndarray, " N"], bins: int = BINS) -> Float[np.ndarray, "M bins"]:
    """Computes `log_mel(wave, bins=bins)` in numpy on one core, without compilation for a new length.

    The wave is float32 at 16 kHz, N > 1; the result is float32, M = `N // 160`.
    """
    log = host_log_power(wave, bins)
    return normalised(log, float(log.max(initial=math.log10(QUIETEST))))


def normalised(log: Float[np.ndarray, "M bins"], loudest: float) -> Float32[np.ndarray, "M bins"]:
    """Brings log10 powers to Whisper's range; `loudest` is the greatest of the clip."""
    return (np.maximum(log, np.float32(loudest - 8.0)) + np.float32(4.0)) / np.float32(4.0)


def host_log_power(wave: Float[np.ndarray, " N"], bins: int = BINS) -> Float32[np.ndarray, "M bins"]:
    """Computes log10 of the mel power of a wave at 16 kHz, N > 1, M = `N // 160`: `host_log_mel` before its range."""
    mirrored = np.pad(wave, WINDOW // 2, mode="reflect")
    framed = np.lib.stride_tricks.sliding_window_view(mirrored, WINDOW)[: mel_frames(len(wave)) * HOP : HOP]
    window, filters = hann(WINDOW), _sparse_filters(bins)
    mel = np.empty((len(framed), bins), np.float32)
    for start in range(0, len(framed), HOST_CHUNK):
        # numpy's rfft takes seven times as long
        spectrum = np.asarray(scipy.fft.rfft(framed[start : start + HOST_CHUNK] * window))
        mel[start : start + HOST_CHUNK] = (filters @ (np.square(np.real(spectrum)) + np.square(np.imag(spectrum))).T).T
    return np.log10(np.maximum(mel, QUIETEST, out=mel), out=mel)
