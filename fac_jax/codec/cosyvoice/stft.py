"""The short Fourier transform of the vocoder and its inverse, as matrix products (codec.md section 3.6).

A spectrum is real parts, then imaginary parts: `fft + 2` values.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.types import Array


@functools.cache
def _analysis(fft: int) -> np.ndarray:
    """Windowed samples to a spectrum, float32 `[fft, fft + 2]`."""
    bins = np.fft.rfft(np.eye(fft) * _hann(fft)[:, None])
    return np.concatenate([bins.real, bins.imag], axis=1).astype(np.float32)


@functools.cache
def _synthesis(fft: int) -> np.ndarray:
    """A spectrum to windowed samples, float32 `[fft + 2, fft]`; imaginary parts of the outer bins count for nothing."""
    half = np.eye(fft // 2 + 1)
    return (np.fft.irfft(np.concatenate([half, 1j * half]), fft) * _hann(fft)).astype(np.float32)


def _hann(fft: int) -> np.ndarray:
    return np.hanning(fft + 1)[:-1]


def reflected(wave: Array, margin: int, length: Array | int) -> jax.Array:
    """Lays `margin` samples around the first `length` of a wave `[B, N]`, mirrored at its ends: `[B, N + 2 margin]`.

    What follows behind the margin of a wave shorter than N is meaningless.
    """
    index = jnp.abs(jnp.arange(-margin, wave.shape[1] + margin))
    index = jnp.where(index < length, index, 2 * (length - 1) - index)
    return jnp.take(jnp.asarray(wave), jnp.clip(index, 0, wave.shape[1] - 1), axis=1)


def spectrum(wave: Array, fft: int, hop: int) -> jax.Array:
    """Spectra of the windows that begin at every hop: `[B, N] -> [B, (N - fft) // hop + 1, fft + 2]`."""
    hops = jnp.reshape(wave, (len(wave), -1, hop))
    frames = hops.shape[1] - fft // hop + 1
    windows = jnp.concatenate([hops[:, i : i + frames] for i in range(fft // hop)], axis=-1)
    return windows @ _analysis(fft)


def inverse(spectra: jax.Array, fft: int, hop: int, last: jax.Array) -> jax.Array:
    """Overlapped and added windows, divided by the sum of their squared windows.

    Args:
      spectra: `[B, T + 1, fft + 2]`.
      fft: size of the transform.
      hop: its hop.
      last: int32, number of the last spectrum that there is.

    Returns:
      `[B, T * hop]`: from the middle of the first window to that of window T.
    """
    there = jnp.arange(spectra.shape[1]) <= last
    windows = jnp.where(there[:, None], spectra @ _synthesis(fft), 0)
    squares = there[:, None] * np.square(_hann(fft)).astype(np.float32)
    overlap = fft // hop

    def added(pieces: jax.Array) -> jax.Array:
        """`[.., T + 1, fft]` -> hops `[.., T + overlap, hop]`."""
        parts = pieces.reshape(*pieces.shape[:-1], overlap, hop)
        edge = [(0, 0)] * (pieces.ndim - 2)
        return sum(jnp.pad(parts[..., i, :], (*edge, (i, overlap - 1 - i), (0, 0))) for i in range(overlap))  # type: ignore[return-value]

    skipped = overlap // 2
    wave = added(windows)[:, skipped:-skipped] / jnp.maximum(added(squares[None])[:, skipped:-skipped], 1e-11)
    return wave.reshape(len(spectra), -1)
