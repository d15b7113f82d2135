"""Recognises a spoken reply without a model of ours, by MFCC features and dynamic time warping.

The result is the candidate text whose rendering is nearest to the reply. Distances use the symmetric step pattern of
Sakoe and Chiba (1978): a diagonal step counts twice, so that the sum is normalised by the sum of both lengths.
"""

from collections.abc import Mapping

import librosa
import numpy as np

WINDOW = 0.032  # seconds of one analysis window
HOP = 0.02  # seconds between frames
BINS = 40  # mel bins
COEFFICIENTS = 16  # number of cepstral coefficients; the 0th, the loudness, is not used
TRIM_DB = 40.0  # decibels below the peak at which the ends count as silence
SHORTEST = 0.15  # seconds of sound below which a reply counts as empty
QUIETEST = 1e-3  # peak amplitude (1 is full scale) below which a reply counts as empty
BAND = 0.2  # largest distance of a path from the diagonal, as a share of the lengths
_FAR = np.float32(1e9)  # cost of a cell that is outside the band or the candidate


class Listener:
    """Finds the candidate text that a waveform sounds like."""

    def __init__(self, candidates: Mapping[str, np.ndarray], rate: int) -> None:
        """Computes the features of all candidates.

        Args:
          candidates: text to its rendering, float `[N]`: every possible reply, in the voice of the replies, and through
            the codec if they pass through one.
          rate: sampling rate of the renderings and of every reply in Hz.

        Raises:
          ValueError: there are no candidates, or a rendering is too short or silent.
        """
        if not candidates:
            raise ValueError("a listener needs candidates")
        self._rate = rate
        self._texts = list(candidates)
        features = [self._features(wave) for wave in candidates.values()]
        silent = [text for text, f in zip(self._texts, features, strict=True) if f is None]
        if silent:
            raise ValueError(f"rendering of {silent[0]!r} is silent or shorter than {SHORTEST} s")
        found = [f for f in features if f is not None]
        self._lengths = np.array([len(f) for f in found])
        self._features_of_all = np.zeros((len(found), self._lengths.max(), COEFFICIENTS), np.float32)
        for row, f in zip(self._features_of_all, found, strict=True):
            row[: len(f)] = f

    def hear(self, wave: np.ndarray) -> str:
        """Returns the text of the nearest candidate, or "" for a wave that is silent or too short."""
        ranked = self.rank(wave)
        return ranked[0][0] if ranked else ""

    def rank(self, wave: np.ndarray) -> list[tuple[str, float]]:
        """Returns all candidates with their distances to a wave, nearest first; none if it is silent or too short.

        The wave is float `[N]` in [-1, 1] at the listener's rate.
        """
        features = self._features(wave)
        if features is None:
            return []
        distances = warped_distances(features, self._features_of_all, self._lengths, BAND)
        return [(self._texts[i], float(distances[i])) for i in np.argsort(distances, kind="stable")]

    def _features(self, wave: np.ndarray) -> np.ndarray | None:
        """Returns the cepstra `[frames, coefficients]` of the part above silence, minus their mean; None if empty."""
        if wave.size < SHORTEST * self._rate or np.abs(wave).max() < QUIETEST:
            return None
        mel = librosa.feature.melspectrogram(
            y=wave.astype(np.float32),
            sr=self._rate,
            n_mels=BINS,
            n_fft=round(WINDOW * self._rate),
            hop_length=round(HOP * self._rate),
        )
        energy = mel.sum(axis=0)
        loud = np.flatnonzero(energy > energy.max() * 10 ** (-TRIM_DB / 10))
        first, last = loud[0], loud[-1] + 1
        if (last - first) * HOP < SHORTEST:
            return None
        cepstra = librosa.feature.mfcc(S=librosa.power_to_db(mel[:, first:last]), n_mfcc=COEFFICIENTS + 1)[1:]
        return (cepstra - cepstra.mean(axis=1, keepdims=True)).T


def warped_distances(query: np.ndarray, candidates: np.ndarray, lengths: np.ndarray, band: float) -> np.ndarray:
    """Computes the distance of one sequence to many candidates by dynamic time warping, all candidates at once.

    Args:
      query: features `[N, F]`.
      candidates: features `[C, M, F]`; frames after a candidate's length are ignored.
      lengths: frames of every candidate, int `[C]`.
      band: largest |i / N - j / length| on a path.

    Returns:
      float32 `[C]`: the sum of Euclidean costs along the cheapest path, divided by N + length.
    """
    n, (count, m, width) = len(query), candidates.shape
    squares = (query**2).sum(1)[:, None, None] + (candidates**2).sum(2).T
    products = (query @ candidates.transpose(2, 1, 0).reshape(width, m * count)).reshape(n, m, count)
    cost = np.sqrt(np.maximum(squares - 2 * products, 0))
    i, j = np.arange(n)[:, None, None], np.arange(m)[:, None]
    cost[(j >= lengths) | (np.abs((i + 0.5) / n - (j + 0.5) / lengths) > band + 0.5 / n + 0.5 / lengths)] = _FAR

    # Shift row i by i, so that a diagonal of the cost matrix is a column: skewed[i, d] = cost[i, d - i].
    diagonals = n + m
    padded = np.full((n, diagonals + 1, count), _FAR)
    padded[:, :m] = cost
    skewed = padded.reshape(n * (diagonals + 1), count)[: n * diagonals].reshape(n, diagonals, count)

    ends = np.empty((diagonals, count), np.float32)
    older = np.full((n + 1, count), _FAR)  # row 0 is the border above the first frame
    old = np.full((n + 1, count), _FAR)
    older[0] = 0.0  # the corner from which the first cell is entered
    for d in range(diagonals):
        c = skewed[:, d]
        new = np.full((n + 1, count), _FAR)
        new[1:] = np.minimum(np.minimum(old[:-1], old[1:]) + c, older[:-1] + 2 * c)
        older, old = old, np.minimum(new, _FAR)
        ends[d] = old[n]
    return ends[n - 1 + lengths - 1, np.arange(count)] / (n + lengths)
