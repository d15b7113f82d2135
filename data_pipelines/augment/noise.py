"""Noise added to speech at a given signal-to-noise ratio: noise of a colour, or recorded noise of a folder."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from fac_jax.audio import io
from fac_jax.types import InputError

# Power falls with frequency as f^-exponent.
COLOURS: Final[Mapping[str, float]] = {"white": 0.0, "pink": 1.0, "brown": 2.0}

KEPT: Final = 64  # decoded files held in memory


def coloured_noise(samples: int, colour: str, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise float32 `[samples]` of unit power, its spectrum that of a colour (`COLOURS`)."""
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    frequencies = np.maximum(np.arange(len(spectrum)), 1)
    wave = np.fft.irfft(spectrum * frequencies ** (-COLOURS[colour] / 2), samples)
    wave -= wave.mean()
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def recorded_noise(samples: int, file: Path, rng: np.random.Generator) -> np.ndarray:
    """A random stretch of a recording, float32 `[samples]` of unit power; a short recording is repeated.

    Raises:
      InputError: the file cannot be read (`io.load`), or is silent.
    """
    noise = recording(file)
    sounding = np.flatnonzero(noise)
    start = sounding[rng.integers(len(sounding))]  # a recording may hold stretches of digital silence
    stretch = np.resize(np.roll(noise, -start), samples)
    return stretch / np.sqrt(np.mean(np.square(stretch)))


def mix(wave: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Adds noise to speech, and scales the sum down if it would leave [-1, 1].

    Args:
      wave: speech float32 `[N]`.
      noise: float32 `[N]` of unit power.
      snr_db: power of the speech over that of the noise, both over the whole of `wave`, in decibels.
    """
    level = np.sqrt(np.mean(np.square(wave)) * 10 ** (-snr_db / 10))
    return within_range(wave + level * noise)


def add_noise(wave: np.ndarray, snr_db: float, colour: str, rng: np.random.Generator) -> np.ndarray:
    """`mix` of speech float32 `[N]` and noise of a colour."""
    return mix(wave, coloured_noise(len(wave), colour, rng), snr_db)


def within_range(wave: np.ndarray) -> np.ndarray:
    """A wave `[N]` as float32, scaled down as a whole if it would leave [-1, 1]."""
    return (wave / max(1.0, float(np.abs(wave).max()))).astype(np.float32)


@functools.cache
def recordings(folder: str | os.PathLike[str]) -> tuple[Path, ...]:
    """`io.recordings` of a folder, listed once.

    Raises:
      InputError: the folder does not exist, or holds no sound file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"no folder of sounds {root}")
    found = io.recordings(root)
    if not found:
        raise InputError(f"no sound file ({', '.join(io.ENDINGS)}) in {root}")
    return tuple(found)


@functools.lru_cache(KEPT)
def recording(file: Path) -> np.ndarray:
    """Loads a recording, float32 `[N]` at 16 kHz, read-only.

    Raises:
      InputError: the file cannot be read (`io.load`), or is silent.
    """
    wave = io.load(file)
    if not wave.any():
        raise InputError(f"sound file is silent: {file}; remove it from the folder")
    wave.flags.writeable = False  # callers share it
    return wave
