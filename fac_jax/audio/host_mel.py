"""`mel.log_mel` in numpy, for processes that make examples: nothing to compile, whatever the length of a clip."""

import functools

import numpy as np
import scipy.fft
import scipy.sparse

from fac_jax.audio.mel import BINS, HOP, WINDOW, filterbank, hann, mel_frames

CHUNK = 256  # frames transformed at once: what they need stays in the cache


def _wave_frames(wave: np.ndarray) -> np.ndarray:
    """The samples that each mel frame of a clip sees, its ends reflected.

    Args:
      wave: float32 `[N]` at 16 kHz, N > 1.

    Returns:
      float32 `[M, WINDOW]`, M = `N // 160`; a view, in which neighbouring frames share samples.
    """
    frames = mel_frames(len(wave))
    extended = np.pad(wave, WINDOW // 2, mode="reflect")
    return np.lib.stride_tricks.sliding_window_view(extended, WINDOW)[: frames * HOP : HOP]


@functools.cache
def _sparse_filters() -> scipy.sparse.csr_array:
    """Mel filters `[BINS, 201]`, a sixtieth of which is not zero; BLAS' threads would fight with those that train."""
    return scipy.sparse.csr_array(filterbank().T)


def host_log_mel(wave: np.ndarray) -> np.ndarray:
    """`log_mel(wave)` with "longest" padding, on one core.

    Args:
      wave: float32 `[N]` at 16 kHz, N > 1.

    Returns:
      float32 `[M, 128]`, M = `N // 160`.
    """
    framed, window, filters = _wave_frames(wave), hann(), _sparse_filters()
    mel = np.empty((len(framed), BINS), np.float32)
    for start in range(0, len(framed), CHUNK):
        # numpy's own takes seven times as long
        spectrum = np.asarray(scipy.fft.rfft(framed[start : start + CHUNK] * window))
        mel[start : start + CHUNK] = (filters @ (np.square(np.real(spectrum)) + np.square(np.imag(spectrum))).T).T
    log = np.log10(np.maximum(mel, 1e-10, out=mel), out=mel)
    return (np.maximum(log, log.max(initial=-10.0) - 8.0, out=log) + 4.0) / 4.0
