"""The vocoder's short-time Fourier transform and its inverse, as matrix products (docs/codec_model.md, section 3.6).

A spectrum is stored as its real parts followed by its imaginary parts: `fft + 2` values.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fac_jax.types import Array


@functools.cache
def _analysis(fft: int) -> np.ndarray:
    """Returns the matrix from samples to the spectrum of their window, float32 `[fft, fft + 2]`."""
    bins = np.fft.rfft(np.eye(fft) * _hann(fft)[:, None])
    return np.concatenate([bins.real, bins.imag], axis=1).astype(np.float32)


@functools.cache
def _synthesis(fft: int) -> np.ndarray:
    """Returns the matrix from a spectrum to windowed samples, float32 `[fft + 2, fft]`.

    It ignores the imaginary parts of the first and the last bin.
    """
    half = np.eye(fft // 2 + 1)
    return (np.fft.irfft(np.concatenate([half, 1j * half]), fft) * _hann(fft)).astype(np.float32)


def _hann(fft: int) -> np.ndarray:
    """Returns the periodic Hann window `[fft]`."""
    return np.hanning(fft + 1)[:-1]


def reflected(wave: Float[Array, "B N"], margin: int, length: Int[Array, ""] | int) -> Float[jax.Array, "B padded"]:
    """Adds `margin` mirrored samples before and after the first `length` samples: `padded = N + 2 * margin`.

    The samples after the second margin are meaningless.
    """
    index = jnp.abs(jnp.arange(-margin, wave.shape[1] + margin))
    index = jnp.where(index < length, index, 2 * (length - 1) - index)
    return jnp.take(jnp.asarray(wave), jnp.clip(index, 0, wave.shape[1] - 1), axis=1)


def spectrum(wave: Float[Array, "B N"], fft: int, hop: int) -> Float[jax.Array, "B T values"]:
    """Transforms the windows that start at every hop: T = `(N - fft) // hop + 1` spectra of `fft + 2` values."""
    hops = jnp.reshape(wave, (len(wave), -1, hop))
    frames = hops.shape[1] - fft // hop + 1
    windows = jnp.concatenate([hops[:, i : i + frames] for i in range(fft // hop)], axis=-1)
    return windows @ _analysis(fft)


def inverse(
    spectra: Float[jax.Array, "B T values"], fft: int, hop: int, last: Int[jax.Array, ""]
) -> Float[jax.Array, "B N"]:
    """Adds the overlapping windows and divides by the sum of their squared Hann windows.

    Returns N = `(T - 1) * hop` samples, from the middle of the first window to the middle of the last. Spectra after
    the index `last` are not valid and do not count.
    """
    valid = jnp.arange(spectra.shape[1]) <= last
    windows = jnp.where(valid[:, None], spectra @ _synthesis(fft), 0)
    squares = valid[:, None] * np.square(_hann(fft)).astype(np.float32)
    overlap = fft // hop

    def added(windows: jax.Array) -> jax.Array:
        """Adds windows `[.., T, fft]` into hops `[.., T - 1 + overlap, hop]`."""
        parts = windows.reshape(*windows.shape[:-1], overlap, hop)
        edge = [(0, 0)] * (windows.ndim - 2)
        shifted = [jnp.pad(parts[..., i, :], (*edge, (i, overlap - 1 - i), (0, 0))) for i in range(overlap)]
        return functools.reduce(jnp.add, shifted)

    skipped = overlap // 2
    wave = added(windows)[:, skipped:-skipped] / jnp.maximum(added(squares[None])[:, skipped:-skipped], 1e-11)
    return wave.reshape(len(spectra), -1)
