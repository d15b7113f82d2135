"""`mel.log_mel` in numpy for processes that make examples; it needs no compilation for a new length of a clip."""

import functools

import numpy as np
import scipy.fft
import scipy.sparse
from jaxtyping import Float

from fac_jax.audio.mel import BINS, HOP, WINDOW, filterbank, hann, mel_frames

CHUNK = 256  # frames transformed at a time, few enough for the processor's cache


def _wave_frames(wave: Float[np.ndarray, " N"]) -> Float[np.ndarray, "M window"]:
    """Returns the samples of the window of each mel frame; the ends of the clip are mirrored.

    Args:
      wave: float32 at 16 kHz, N > 1.

    Returns:
      float32, M = `N // 160` windows of `WINDOW` samples; a view in which neighbouring windows share memory.
    """
    frames = mel_frames(len(wave))
    extended = np.pad(wave, WINDOW // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(extended, WINDOW)[: frames * HOP : HOP]


@functools.cache
def _sparse_filters() -> scipy.sparse.csr_array:
    """Returns mel filters `[BINS, 201]`, of which a sixtieth is not zero.

    A dense product would start BLAS threads, which compete with training.
    """
    return scipy.sparse.csr_array(filterbank().T)


def host_log_mel(wave: Float[np.ndarray, " N"]) -> Float[np.ndarray, "M bins"]:
    """Computes `log_mel(wave)` with "longest" padding on one core.

    Args:
      wave: float32 at 16 kHz, N > 1.

    Returns:
      float32, M = `N // 160`.
    """
    framed, window, filters = _wave_frames(wave), hann(), _sparse_filters()
    mel = np.empty((len(framed), BINS), np.float32)
    for start in range(0, len(framed), CHUNK):
        # numpy's rfft takes seven times as long
        spectrum = np.asarray(scipy.fft.rfft(framed[start : start + CHUNK] * window))
        mel[start : start + CHUNK] = (filters @ (np.square(np.real(spectrum)) + np.square(np.imag(spectrum))).T).T
    log = np.log10(np.maximum(mel, 1e-10, out=mel), out=mel)
    return (np.maximum(log, log.max(initial=-10.0) - 8.0, out=log) + 4.0) / 4.0
