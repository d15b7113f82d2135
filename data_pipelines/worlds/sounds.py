"""Sounds without words, made by formulas: what questions about audio are asked of, besides speech."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from jaxtyping import Float32

from data_pipelines.worlds.espeak import SAMPLE_RATE

SECONDS: Final = (0.8, 1.6)  # length, drawn from [low, high]
PEAK: Final = (0.2, 0.8)  # loudest sample, drawn from [low, high]
FADE: Final = 160  # samples at both ends, 10 ms
STEPS: Final = (3, 5)  # tones of a melody, at least and at most


@dataclasses.dataclass(frozen=True, order=True)
class Sound:
    """A sound: one of `KINDS`, drawn by a seed."""

    kind: str
    seed: int

    def wave(self) -> Float32[np.ndarray, " N"]:
        """Returns the sound, float32 `[N]` at 16 kHz, the same at every call."""
        rng = np.random.default_rng((self.seed, *self.kind.encode()))
        length = round(float(rng.uniform(*SECONDS)) * SAMPLE_RATE)
        wave = KINDS[self.kind](np.arange(length) / SAMPLE_RATE, rng)
        ends = np.minimum(1.0, np.minimum(np.arange(length), np.arange(length)[::-1]) / FADE)
        return (wave * ends / np.abs(wave).max() * rng.uniform(*PEAK)).astype(np.float32)


def _beep(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.sin(2 * np.pi * rng.uniform(500, 2000) * t)


def _noise(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(len(t))


def _clicks(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    phase = (t * rng.uniform(4, 9)) % 1.0
    return np.exp(-phase * 60) * np.sin(2 * np.pi * rng.uniform(1500, 3000) * t)


def _siren(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    middle, width, rate = rng.uniform(700, 1200), rng.uniform(200, 400), rng.uniform(1.5, 3.0)
    return np.sin(2 * np.pi * middle * t + width / rate * np.sin(2 * np.pi * rate * t))


def _melody(rising: bool) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    def tones(t: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        count = int(rng.integers(STEPS[0], STEPS[1] + 1))
        notes = np.cumsum(rng.integers(2, 5, count)) + rng.integers(0, 12)  # semitones above 220 Hz
        pitches = 220 * 2 ** ((notes if rising else notes[::-1]) / 12)
        which = np.minimum((t / t[-1] * count).astype(int), count - 1)
        phase = np.cumsum(pitches[which]) / SAMPLE_RATE
        return np.sin(2 * np.pi * phase) + 0.3 * np.sin(4 * np.pi * phase)

    return tones


NOISES: Final = ("beep", "noise", "clicks", "siren")
MELODIES: Final = ("rising", "falling")
KINDS: Final[Mapping[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]]] = {
    "beep": _beep,
    "noise": _noise,
    "clicks": _clicks,
    "siren": _siren,
    "rising": _melody(rising=True),
    "falling": _melody(rising=False),
}
