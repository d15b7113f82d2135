"""Augmentation of log-mels of user audio, decided by (seed, epoch, row); `wave` augments before features."""

import dataclasses
import zlib

import numpy as np

from fac_jax.batching.grid import Example


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the changes; every draw is uniform.

    Attributes:
      shift_bins: most mel bins by which the spectrum is shifted up or down.
      gain_db: most decibels of gain or attenuation.
      time_masks: number of masks of consecutive frames.
      time_frames: most frames (100 Hz) of a mask.
      frequency_masks: number of masks of consecutive mel bins.
      frequency_bins: most bins of a mask.
    """

    shift_bins: int = 6
    gain_db: float = 6.0
    time_masks: int = 2
    time_frames: int = 10
    frequency_masks: int = 2
    frequency_bins: int = 12


def augment_mel(mel: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Shift along frequency (the edge bin is repeated), gain, and SpecAugment with the mean as filling.

    Args:
      mel: Whisper's log-mel float32 `[M, 128]`, in which 40 dB are 1.
      config: ranges of the changes.
      rng: generator of the draws.

    Returns:
      float32 `[M, 128]`, a new array.
    """
    frames, bins = mel.shape
    shift = rng.integers(-config.shift_bins, config.shift_bins + 1)
    out = mel[:, np.clip(np.arange(bins) - shift, 0, bins - 1)]
    out += np.float32(rng.uniform(-config.gain_db, config.gain_db) / 40)
    mean = out.mean()
    for _ in range(config.time_masks):
        width = int(rng.integers(0, min(config.time_frames, frames) + 1))
        start = int(rng.integers(0, frames - width + 1))
        out[start : start + width] = mean
    for _ in range(config.frequency_masks):
        width = int(rng.integers(0, min(config.frequency_bins, bins) + 1))
        start = int(rng.integers(0, bins - width + 1))
        out[:, start : start + width] = mean
    return out


def augment(example: Example, config: AugmentConfig, seed: int, epoch: int) -> Example:
    """Returns the example with changed log-mels; an example without audio is not changed."""
    if not example.mels:
        return example
    rng = np.random.default_rng((seed, epoch, zlib.crc32(example.id.encode())))
    return dataclasses.replace(example, mels=tuple(augment_mel(mel, config, rng) for mel in example.mels))
