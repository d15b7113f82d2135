"""Noise of a colour, added to speech at a stated signal-to-noise ratio."""

from collections.abc import Mapping
from typing import Final

import numpy as np

# Power falls with frequency as f^-exponent.
COLOURS: Final[Mapping[str, float]] = {"white": 0.0, "pink": 1.0, "brown": 2.0}


def coloured_noise(samples: int, colour: str, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise float32 `[samples]` of unit power, its spectrum that of a colour (`COLOURS`)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.maximum(np.arange(len(spectrum)), 1)
    wave = np.fft.irfft(spectrum * frequencies ** (-COLOURS[colour] / 2), samples)
    wave -= wave.mean()
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def add_noise(wave: np.ndarray, snr_db: float, colour: str, rng: np.random.Generator) -> np.ndarray:
    """Speech float32 `[N]` with noise beside it, made softer where the sum would leave [-1, 1].

    Args:
      wave: speech, not silent.
      snr_db: power of the speech over that of the noise, both over the whole of `wave`, in decibels.
      colour: of the noise.
      rng: where the noise comes from.
    """
    level = np.sqrt(np.mean(np.square(wave)) * 10 ** (-snr_db / 10))
    noisy = wave + level * coloured_noise(len(wave), colour, rng)
    return (noisy / max(1.0, float(np.abs(noisy).max()))).astype(np.float32)
