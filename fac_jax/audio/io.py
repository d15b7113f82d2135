"""Reads and writes audio files. Any file that librosa can read becomes a mono float32 wave at one sampling rate."""

import contextlib
import dataclasses
import io
import os
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import librosa
import numpy as np
import soundfile
import soxr
from jaxtyping import Float, Float32

from fac_jax.io import replacing
from fac_jax.types import InputError

RATE: int = 16000  # sampling rate in Hz of every wave that the model reads
RATES: tuple[int, int] = (4_000, 384_000)  # accepted sampling rates in Hz; another rate is a sign of a damaged header

ENDINGS: Final = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".m4a")

Fault: TypeAlias = Literal["missing", "undecodable", "rate", "not finite", "empty", "channel"]


class AudioError(InputError):
    """Audio that cannot be read; `fault` is the kind of the fault."""

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault: Fault = fault


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
    """Audio that was read from a file, with its sampling rate in Hz and its length in seconds there.

    `wave` is the mean of the channels, or one of them, resampled by soxr.
    """

    wave: Float32[np.ndarray, " N"]
    stored_rate: int
    seconds: float


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Returns the samples `[N, channels]` float32 and the rate in Hz, as stored."""
    if not path.is_file():
        raise AudioError("missing", f"audio file not found: {path}")
    if path.stat().st_size == 0:
        raise AudioError("empty", f"audio file is empty (0 bytes): {path}")
    try:
        return soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, MemoryError) as error:  # a damaged header may ask for any size
        cause = str(error).rpartition(": ")[2]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # librosa warns that soundfile failed, which is known here
            wave, rate = librosa.load(path, sr=None, mono=False)
    except Exception as error:  # audioread's readers raise anything on a damaged header
        raise _undecodable(str(path), cause) from error
    return np.atleast_2d(wave).T, int(rate)


def _undecodable(name: str, cause: str) -> AudioError:
    return AudioError("undecodable", f"audio file cannot be decoded: {name} ({cause}); convert it to WAV or FLAC")


def _sound(samples: np.ndarray, stored_rate: int, rate: int, name: str, channel: int | None) -> Sound:
    if not RATES[0] <= stored_rate <= RATES[1]:
        raise AudioError("rate", f"audio file says that it is sampled at {stored_rate} Hz: {name}; that is no speech")
    channels = samples.shape[1]
    if channel is not None and channel >= channels:
        some = "1 channel" if channels == 1 else f"{channels} channels"
        raise AudioError("channel", f"audio file has {some}, channel {channel + 1} is asked for: {name}")
    wave = samples.mean(axis=1) if channel is None else samples[:, channel]
    if not np.isfinite(wave).all():
        raise AudioError("not finite", f"audio file holds samples that are not finite: {name}")
    wave = resampled(wave, stored_rate, rate)
    if wave.size == 0:
        raise AudioError("empty", f"audio file holds no sample: {name}")
    return Sound(wave, stored_rate, len(samples) / stored_rate)


def resampled(wave: Float[np.ndarray, " N"], stored_rate: int, rate: int = RATE) -> Float32[np.ndarray, " M"]:
    """Resamples a wave from `stored_rate` to `rate` in Hz by soxr; the result is float32."""
    return (wave if stored_rate == rate else soxr.resample(wave, stored_rate, rate)).astype(np.float32)


def read(path: str | os.PathLike[str], rate: int = RATE, channel: int | None = None) -> Sound:
    """Reads an audio file of any format that soundfile reads, or librosa through audioread, at `rate` Hz.

    Args:
      channel: number of the channel, from 0; None for the mean of all.

    Raises:
      AudioError: the file is missing, empty or corrupt, has an impossible rate, no sample, a sample that is not finite,
        or no such channel.
    """
    path = Path(path)
    return _sound(*_read(path), rate, str(path), channel)


def decode(data: bytes, name: str, rate: int = RATE, channel: int | None = None) -> Sound:
    """Reads audio like `read`, from the bytes of a WAV, FLAC, MP3 or Ogg file; errors name it `name`."""
    if not data:
        raise AudioError("empty", f"audio file is empty (0 bytes): {name}")
    try:
        with interrupt_after():
            samples, stored_rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, MemoryError) as error:  # a damaged header may ask for any size
        raise _undecodable(name, str(error).rpartition(": ")[2]) from error
    return _sound(samples, stored_rate, rate, name, channel)


@contextlib.contextmanager
def interrupt_after() -> Iterator[None]:
    """Lets Ctrl-C act at the end of a block that reads or writes a sound in memory.

    libsndfile calls back into Python for every piece, and what is raised there is lost.
    """
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[Any] = []
    signal.signal(signal.SIGINT, lambda *interrupt: came.append(interrupt))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for interrupt in came[:1]:
            before(*interrupt)


def recordings(folder: Path) -> list[Path]:
    """Lists the audio files below a folder, by their endings, sorted by name so that every machine has one order."""
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in ENDINGS)


def load(path: str | os.PathLike[str], rate: int = RATE) -> Float32[np.ndarray, " N"]:
    """Reads the wave of an audio file (`read`)."""
    return read(path, rate).wave


def save_wav(path: str | os.PathLike[str], wave: Float[np.ndarray, " N *channels"], rate: int = RATE) -> None:
    """Writes a wave, clipped to [-1, 1], as 16-bit WAV at `rate` Hz; the file appears complete."""
    with replacing(path) as part:
        soundfile.write(part, np.clip(np.asarray(wave, np.float32), -1.0, 1.0), rate, subtype="PCM_16", format="WAV")
