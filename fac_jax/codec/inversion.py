"""Waves from the magnitudes of short-time spectra, frame by frame as they come.

The phases of new frames are found by the iteration of Griffin and Lim (1984) with the momentum of Perraudin, Balazs and
Soendergaard (2013). It begins with random phases, and the last frames are found again when those after them are known,
as by Zhu, Beauregard and Wyse (2007). What was said never changes. All streams of a batch are spoken at once; each has
the samples that it has alone.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import scipy.fft
from jaxtyping import Complex64, Float32

from fac_jax.audio.mel import HOP, hann

WINDOW: Final = 512  # samples of one Hann window
FREQUENCIES: Final = WINDOW // 2 + 1
OVERLAP: Final = WINDOW - HOP  # samples that a frame shares with later ones
HALF: Final = WINDOW // 2  # samples of a frame before its centre
AHEAD: Final = 2  # frames that are found again with those behind them
MOMENTUM: Final = 0.99

_HOPS: Final = -(-WINDOW // HOP)  # that a frame touches
_LEAST: Final = 1e-3  # sum of squared windows at the very ends, where little is said
_TINY: Final = 1e-9  # below any magnitude that can be heard
_HANN: Final = hann(WINDOW)


@dataclasses.dataclass(frozen=True)
class Past:
    """What B streams have said, as far as it touches what comes.

    Attributes:
      sums: windowed frames that were said, added up, behind the last sample that is finished.
      magnitudes: of the last A frames, which are found again: A is `AHEAD`, and 0 before the first frame.
      spectra: of these frames, as they were found.
    """

    sums: Float32[np.ndarray, "B {OVERLAP}"]
    magnitudes: Float32[np.ndarray, "B A {FREQUENCIES}"]
    spectra: Complex64[np.ndarray, "B A {FREQUENCIES}"]

    def apart(self) -> Iterator["Past"]:
        """Yields the past of each stream."""
        for row in range(len(self.sums)):
            yield Past(*(field[row : row + 1] for field in (self.sums, self.magnitudes, self.spectra)))


def silence() -> Past:
    """Returns the past of a stream that has not begun."""
    none = np.zeros((1, 0, FREQUENCIES), np.float32)
    return Past(np.zeros((1, OVERLAP), np.float32), none, none.astype(np.complex64))


def joined(pasts: Sequence[Past]) -> Past:
    """Returns the past of several streams, all of which have begun or none."""
    fields = ("sums", "magnitudes", "spectra")
    return Past(*(np.concatenate([getattr(past, field) for past in pasts]) for field in fields))


def extended(
    past: Past, magnitudes: Float32[np.ndarray, "B N {FREQUENCIES}"], iterations: int, last: bool
) -> tuple[Float32[np.ndarray, "B samples"], Past]:
    """Says the next frames of B streams, all of which have begun or none.

    Frames are centred on the borders of hops of 160 samples, the first on the first sample, the last on the end. The
    last two wait for those after them, and so do the samples that they touch: the first N frames give 160 (N - 2) - 256
    samples, further ones 160 N, and the last ones all that is left, in sum a hop less than there are frames.

    Args:
      past: of the streams.
      magnitudes: of N new frames; in all there are at least 3, or they are the last.
      iterations: of Griffin and Lim.
      last: whether nothing follows.

    Returns:
      the samples, and the past of what follows.
    """
    begun = past.magnitudes.shape[1] > 0
    wanted = np.concatenate([past.magnitudes, magnitudes], axis=1)
    count = wanted.shape[1]
    if not count:
        return past.sums[:, :0], past
    done = count if last else count - AHEAD
    sums = np.pad(past.sums, ((0, 0), (0, count * HOP)))
    weights = _weights(count, begun)
    spectra, before = np.concatenate([past.spectra, magnitudes * _first(magnitudes.shape[1])], axis=1), None
    for _ in range(iterations):
        found = _spectra((sums + _added(spectra)) * weights, count)
        moved = found if before is None else found + MOMENTUM * (found - before)
        spectra, before = moved * (wanted / np.maximum(np.abs(moved), _TINY)), found
    sums[:, : done * HOP + OVERLAP] += _added(spectra[:, :done])
    end = done * HOP + (HALF - HOP) * last
    wave = (sums * weights)[:, 0 if begun else HALF : end]
    return wave, Past(sums[:, done * HOP :][:, :OVERLAP], wanted[:, done:], spectra[:, done:])


@functools.cache
def _first(count: int) -> Complex64[np.ndarray, "N {FREQUENCIES}"]:
    """Returns the phases that the iteration begins with, the same for every stream and piece."""
    turns = np.random.default_rng(0).random((count, FREQUENCIES))
    return np.exp(2j * np.pi * turns).astype(np.complex64)


def _added(spectra: Complex64[np.ndarray, "B N F"]) -> Float32[np.ndarray, "B samples"]:
    """Adds up the windowed frames of spectra, each a hop behind the one before: `[B, 160 N + 352]`."""
    streams, count, _ = spectra.shape
    frames = _inverse(spectra) * _HANN
    found = np.zeros((streams, (count + _HOPS - 1) * HOP), np.float32)
    hops = found.reshape(streams, count + _HOPS - 1, HOP)
    for hop in range(_HOPS):
        part = frames[..., hop * HOP : (hop + 1) * HOP]
        hops[:, hop : hop + count, : part.shape[-1]] += part
    return found[:, : count * HOP + OVERLAP]


def _spectra(wave: Float32[np.ndarray, "B samples"], count: int) -> Complex64[np.ndarray, "B N F"]:
    """Returns the spectra of the windowed frames of a wave."""
    row, sample = wave.strides
    frames = np.lib.stride_tricks.as_strided(wave, (len(wave), count, WINDOW), (row, HOP * sample, sample))
    found: Any = scipy.fft.rfft(frames * _HANN)
    return found


def _inverse(spectra: Complex64[np.ndarray, "B N F"]) -> Float32[np.ndarray, "B N {WINDOW}"]:
    found: Any = scipy.fft.irfft(spectra)
    return found


@functools.cache
def _weights(count: int, begun: bool) -> Float32[np.ndarray, " samples"]:
    """Returns one over the sums of squared windows of `count` frames, and of those before them if there are any."""
    earlier = (_HOPS - 1) * begun
    found = np.zeros((earlier + count) * HOP + OVERLAP, np.float32)
    for frame in range(earlier + count):
        found[frame * HOP : frame * HOP + WINDOW] += np.square(_HANN)
    return 1 / np.maximum(found[earlier * HOP :], _LEAST)
