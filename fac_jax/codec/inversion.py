"""Waves from the magnitudes of short-time spectra, frame by frame as they come.

The phases of new frames are found by the iteration of Griffin and Lim (1984) with the momentum of Perraudin, Balazs and
Soendergaard (2013). It begins with random phases, and the last frames are found again when those after them are known,
as by Zhu, Beauregard and Wyse (2007). What was said never changes.
"""

import functools
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Bool, Complex64, Float32, Int32

from fac_jax.audio.mel import HOP, hann
from fac_jax.types import Array

WINDOW: Final = 512  # samples of one Hann window
FREQUENCIES: Final = WINDOW // 2 + 1
OVERLAP: Final = WINDOW - HOP  # samples that a frame shares with later ones
HALF: Final = WINDOW // 2  # samples of a frame before its centre
AHEAD: Final = 2  # frames that are found again with those behind them
MOMENTUM: Final = 0.99

_HOPS: Final = -(-WINDOW // HOP)  # that a frame touches
_START: Final = AHEAD * HOP + HALF  # samples before the first, in a wave that begins
_LEAST: Final = 1e-3  # sum of squared windows at the very ends, where little is said
_TINY: Final = 1e-9  # below any magnitude that can be heard
_HANN: Final = hann(WINDOW).astype(np.float32)


@struct.dataclass
class Past:
    """What a stream has said, as far as it touches what comes; all zeros before its first frame.

    Attributes:
      sums: windowed frames that were said, added up, behind the last sample that is finished.
      magnitudes: of the last frames, which are found again.
      spectra: of these frames, as they were found.
    """

    sums: Float32[Array, "*B {OVERLAP}"]
    magnitudes: Float32[Array, "*B {AHEAD} {FREQUENCIES}"]
    spectra: Complex64[Array, "*B {AHEAD} {FREQUENCIES}"]


def silence(*streams: int) -> Past:
    """Returns the past of streams that have not begun: of one, or an array of them of this shape."""
    magnitudes = jnp.zeros((*streams, AHEAD, FREQUENCIES), jnp.float32)
    return Past(jnp.zeros((*streams, OVERLAP), jnp.float32), magnitudes, magnitudes.astype(jnp.complex64))


def extended(
    past: Past,
    magnitudes: Float32[Array, "N {FREQUENCIES}"],
    count: Int32[Array, ""],
    begun: Bool[Array, ""],
    last: Bool[Array, ""],
    iterations: int,
) -> tuple[Float32[Array, " samples"], Past]:
    """Says the next frames of a stream.

    Frames are centred on the borders of hops of 160 samples, the first on the first sample, the last on the end. The
    last two wait for those after them, and so do the samples that they touch (`samples_of`).

    Args:
      past: of the stream.
      magnitudes: of new frames, N of them at most.
      count: how many of them there are; at least 4 at the beginning, unless they are the last.
      begun: whether the stream has a past.
      last: whether nothing follows.
      iterations: of Griffin and Lim.

    Returns:
      160 (N + 1) + 256 samples, of which `samples_of(count, begun, last)` are said, and the past of what follows.
    """
    frames = AHEAD + len(magnitudes)
    at = jnp.arange(frames) - AHEAD
    there = (at < count) & (begun | (at >= 0))
    wanted = jnp.concatenate([past.magnitudes, magnitudes]) * there[:, None]
    spectra = jnp.concatenate([past.spectra, magnitudes * _first(len(magnitudes))])
    sums = jnp.pad(past.sums, (0, frames * HOP))
    squares = _added(there[:, None] * np.square(_HANN)).at[:OVERLAP].add(begun * _squares_before())
    weights = 1 / jnp.maximum(squares, _LEAST)

    def step(i: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        spectra, before = carry
        found = _spectra((sums + _added(_windowed(spectra))) * weights, frames)
        moved = found + jnp.where(i == 0, 0, MOMENTUM) * (found - before)
        size = jnp.sqrt(jnp.square(moved.real) + jnp.square(moved.imag))
        return moved * (wanted / jnp.maximum(size, _TINY)), found

    spectra = spectra * there[:, None]
    spectra, _ = jax.lax.fori_loop(0, iterations, step, (spectra, jnp.zeros_like(spectra)))
    done = count + AHEAD * last
    said = jnp.arange(frames) < done
    sums = sums + _added(_windowed(spectra * said[:, None]))
    start = jnp.where(begun, 0, _START)
    wave = jax.lax.dynamic_slice_in_dim(jnp.pad(sums * weights, (0, _START)), start, (frames - 1) * HOP + HALF)
    left = Past(
        jax.lax.dynamic_slice_in_dim(sums, count * HOP, OVERLAP),
        jax.lax.dynamic_slice_in_dim(wanted, count, AHEAD),
        jax.lax.dynamic_slice_in_dim(spectra, count, AHEAD),
    )
    return wave, left


def samples_of(count: int, begun: bool, last: bool) -> int:
    """Returns how many samples `count` new frames of a stream say.

    The first N frames give 160 (N - 2) - 256 samples, further ones 160 N, and the last ones all that is left, in sum a
    hop less than there are frames.
    """
    end = (count + AHEAD) * HOP + HALF - HOP if last else count * HOP
    return max(0, end - (0 if begun else _START))


def _first(count: int) -> Complex64[np.ndarray, "N {FREQUENCIES}"]:
    """Returns the phases that the iteration begins with, the same for every stream and piece."""
    turns = np.random.default_rng(0).random((count, FREQUENCIES))
    return np.exp(2j * np.pi * turns).astype(np.complex64)


def _windowed(spectra: Complex64[Array, "N {FREQUENCIES}"]) -> Float32[jax.Array, "N {WINDOW}"]:
    return jnp.fft.irfft(spectra) * _HANN


def _added(frames: Float32[Array, "N {WINDOW}"]) -> Float32[jax.Array, " samples"]:
    """Adds up frames, each a hop behind the one before: `[160 N + 352]`."""
    count = len(frames)
    hops = jnp.pad(frames, ((0, 0), (0, _HOPS * HOP - WINDOW))).reshape(count, _HOPS, HOP)
    found = sum(jnp.pad(hops[:, hop], ((hop, _HOPS - 1 - hop), (0, 0))) for hop in range(_HOPS))
    return jnp.asarray(found).reshape(-1)[: count * HOP + OVERLAP]


def _spectra(wave: Float32[Array, " samples"], count: int) -> Complex64[jax.Array, "N {FREQUENCIES}"]:
    """Returns the spectra of the windowed frames of a wave."""
    hops = jnp.pad(wave, (0, _HOPS * HOP - WINDOW)).reshape(-1, HOP)
    frames = jnp.concatenate([hops[hop : hop + count] for hop in range(_HOPS)], axis=1)[:, :WINDOW]
    return jnp.fft.rfft(frames * _HANN)


@functools.cache
def _squares_before() -> Float32[np.ndarray, " {OVERLAP}"]:
    """Returns the sums of the squared windows of earlier frames, which touch those of a stream that has begun."""
    found = np.zeros(OVERLAP, np.float32)
    for frame in range(1, _HOPS):
        part = np.square(_HANN)[frame * HOP :]
        found[: len(part)] += part
    return found
