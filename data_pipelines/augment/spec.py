"""Augmentation of a user's log-mel, after its features (`wave_augment`: before), the same for (seed, epoch, row)."""

import dataclasses
import zlib

import numpy as np

from fac_jax.batching.grid import Example


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """How far a log-mel is changed; every draw is uniform.

    Attributes:
      shift_bins: most mel bins that a voice is moved up or down.
      gain_db: most decibels that it is made louder or softer.
      time_masks: masks of consecutive frames.
      time_frames: most frames (100 Hz) of one.
      frequency_masks: masks of consecutive mel bins.
      frequency_bins: most bins of one.
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
      config: how far.
      rng: where the draws come from.

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
    """The example with its audios changed; an example without audio as it is."""
    if not example.mels:
        return example
    rng = np.random.default_rng((seed, epoch, zlib.crc32(example.id.encode())))
    return dataclasses.replace(example, mels=tuple(augment_mel(mel, config, rng) for mel in example.mels))
