"""Audio files in and out: any file librosa can read becomes a mono float32 wave at one rate."""

import os
import warnings
from pathlib import Path

import audioread
import librosa
import numpy as np
import soundfile
import soxr

from fac_jax.types import InputError

RATE: int = 16000  # Hz, of every wave that the model reads


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Samples `[N, channels]` float32 and their rate in Hz, as stored."""
    if not path.is_file():
        raise InputError(f"audio file not found: {path}")
    if path.stat().st_size == 0:
        raise InputError(f"audio file is empty (0 bytes): {path}")
    try:
        return soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        cause = str(error).rpartition(": ")[2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa warns that soundfile failed, which is why we are here
            wave, rate = librosa.load(path, sr=None, mono=False)
    except (audioread.DecodeError, EOFError) as error:
        raise InputError(f"audio file cannot be decoded: {path} ({cause}); convert it to WAV or FLAC") from error
    return np.atleast_2d(wave).T, int(rate)


def load(path: str | os.PathLike[str], rate: int = RATE) -> np.ndarray:
    """Reads an audio file.

    Args:
      path: any format that soundfile reads, or librosa through audioread.
      rate: wanted sampling rate in Hz.

    Returns:
      float32 `[N]`, the mean of the channels, resampled by soxr.

    Raises:
      InputError: the file is missing, empty, corrupt, holds no sample or a sample that is not finite.
    """
    path = Path(path)
    samples, source_rate = _read(path)
    wave = samples.mean(axis=1)
    if not np.isfinite(wave).all():
        raise InputError(f"audio file holds samples that are not finite: {path}")
    if source_rate != rate:
        wave = soxr.resample(wave, source_rate, rate)
    if wave.size == 0:
        raise InputError(f"audio file holds no sample: {path}")
    return wave.astype(np.float32)


def duration(path: str | os.PathLike[str]) -> float:
    """Seconds of audio in a file; decodes it, so that a broken file fails here with `load`'s `InputError`."""
    samples, rate = _read(Path(path))
    return len(samples) / rate


def save_wav(path: str | os.PathLike[str], wave: np.ndarray, rate: int = RATE) -> None:
    """Writes a float wave `[N]` in [-1, 1] (cut to it) as 16-bit mono WAV at `rate` Hz; the file appears complete."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    soundfile.write(beside, np.clip(np.asarray(wave, np.float32), -1.0, 1.0), rate, subtype="PCM_16", format="WAV")
    beside.replace(path)
