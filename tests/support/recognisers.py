"""Recognisers that the tests of the word filter name."""

import os
import time
from collections.abc import Sequence

import numpy as np


def by_pitch(waves: Sequence[np.ndarray]) -> list[str]:
    """Hears "hello" in a wave whose spectrum peaks at 440 Hz, "noise" in every other."""
    return ["hello" if abs(_peak(wave) - 440) < 10 else "noise" for wave in waves]


def slow(waves: Sequence[np.ndarray]) -> list[str]:
    """Hears "hello", after so many seconds as the environment says."""
    time.sleep(float(os.environ.get("HEARING_SECONDS", "0")))
    return ["hello"] * len(waves)


def deaf(waves: Sequence[np.ndarray]) -> list[str]:
    """Forgets a wave."""
    return ["hello"] * (len(waves) - 1)


def _peak(wave: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(wave))
    return float(np.argmax(spectrum)) * 16_000 / len(wave)
