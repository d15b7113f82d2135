"""Acoustic effects and noise as pure functions of a wave float32 `[N]` at 16 kHz.

Every result is float32 within [-1, 1]: a louder wave is scaled down as a whole, and only `clip` clips.
"""

import functools
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
import scipy.fft
import soundfile
import soxr
from scipy import signal

from fac_jax.audio import io
from fac_jax.types import InputError

# Power falls with frequency as f^-exponent.
COLOURS: Final[Mapping[str, float]] = {"white": 0.0, "pink": 1.0, "brown": 2.0}
TALKERS: Final = 6  # of babble
TALKERS_SPEED: Final = (0.8, 1.25)
KEPT: Final = 64  # decoded files held in memory
FIRST_REFLECTION: Final = 0.003  # seconds after the direct sound: a wall half a metre away
TELEPHONE_RATE: Final = 8000  # Hz
PIVOT: Final = 1000.0  # Hz, where a tilt changes nothing
DB_PER_OCTAVE: Final = 20 * np.log10(2)  # of an amplitude in proportion to frequency
CODECS: Final = ("ULAW", "ALAW", "GSM610")  # soundfile's names: G.711 in its two laws, GSM full rate


def coloured_noise(samples: int, colour: str, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise float32 `[samples]` of unit power, its spectrum that of a colour (`COLOURS`)."""
    wave = np.asarray(rng.standard_normal(scipy.fft.next_fast_len(samples, real=True)))
    if COLOURS[colour]:
        spectrum = np.asarray(scipy.fft.rfft(wave))
        frequencies = np.maximum(np.arange(len(spectrum)), 1)
        wave = np.asarray(scipy.fft.irfft(spectrum * frequencies ** (-COLOURS[colour] / 2), len(wave)))
    wave = wave[:samples] - wave[:samples].mean()
    return (wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


def babble(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Talkers in the background, float32 `[N]` of unit power: shifted copies of the wave itself, half of them reversed.

    Each speaks faster or slower, and higher or lower, than the wave. A silent wave gives silence.
    """
    found = np.zeros(len(wave), np.float32)
    for talker in range(TALKERS):
        other = change_speed(wave, rng.uniform(*TALKERS_SPEED))
        found += np.roll(np.resize(other[:: 1 - 2 * (talker % 2)], len(wave)), rng.integers(len(wave)))
    return found / max(1e-9, float(np.sqrt(np.mean(np.square(found)))))


def recorded_noise(samples: int, file: Path, rng: np.random.Generator) -> np.ndarray:
    """A random stretch of a recording, repeated if short, float32 `[samples]` of unit power; raises as `recording`."""
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


def change_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Plays a wave faster (`factor` > 1) or slower: `[N / factor]`, with its pitch higher by the same factor."""
    return within_range(soxr.resample(wave, io.RATE * factor, io.RATE))


def amplify(wave: np.ndarray, gain_db: float) -> np.ndarray:
    """Changes the level of a wave by `gain_db` decibels, as far as [-1, 1] allows."""
    return within_range(wave * np.float32(10 ** (gain_db / 20)))


def clip(wave: np.ndarray, over_db: float) -> np.ndarray:
    """Makes a wave so loud that its peak is `over_db` decibels above full scale, and clips it there."""
    peak = float(np.abs(wave).max())
    if not peak:
        return wave
    return np.clip(wave * (10 ** (over_db / 20) / peak), -1, 1).astype(np.float32)


def tilt(wave: np.ndarray, db_per_octave: float) -> np.ndarray:
    """Makes high frequencies louder or softer by so many decibels an octave around 1 kHz; the level is kept.

    Below 62.5 Hz, where there is no speech, the gain is that of 62.5 Hz.
    """
    size = scipy.fft.next_fast_len(len(wave), real=True)
    spectrum = np.asarray(scipy.fft.rfft(wave, size))
    hertz = np.maximum(scipy.fft.rfftfreq(size, 1 / io.RATE), PIVOT / 16)
    tilted = np.asarray(scipy.fft.irfft(spectrum * (hertz / PIVOT) ** (db_per_octave / DB_PER_OCTAVE), size))
    return _same_level(wave, tilted[: len(wave)])


def narrow(wave: np.ndarray, rate: int) -> np.ndarray:
    """A wave that was sampled at a lower `rate` in Hz: nothing above half of it is left; the length is kept."""
    wide = soxr.resample(soxr.resample(wave, io.RATE, rate), rate, io.RATE)
    return within_range(np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)])


def simulated_room(rt60: float, direct_db: float, rng: np.random.Generator) -> np.ndarray:
    """Impulse response `[L]` of a room: the direct sound, 1 at the start, and Gaussian noise that dies away.

    The statistical model of late reverberation (Polack 1988); the room has no shape and no early reflections.

    Args:
      rt60: seconds after which the reverberation has fallen by 60 dB; also the length.
      direct_db: energy of the direct sound over that of the reverberation, in decibels.
      rng: generator of the noise.
    """
    time = np.arange(round(rt60 * io.RATE)) / io.RATE
    response = rng.standard_normal(len(time)) * 10 ** (-3 * time / rt60)
    response[time < FIRST_REFLECTION] = 0
    response *= np.sqrt(10 ** (-direct_db / 10) / np.sum(np.square(response)))
    response[0] = 1
    return response


def recorded_room(file: Path) -> np.ndarray:
    """Impulse response `[L]` of a file from its greatest sample, the direct sound, made 1; raises as `recording`."""
    response = recording(file)
    direct = int(np.abs(response).argmax())
    return response[direct:] / response[direct]


def reverberate(wave: np.ndarray, response: np.ndarray) -> np.ndarray:
    """A wave as it sounds in a room, with its length, level and timing kept; the reverberation after its end is cut.

    Args:
      wave: float32 `[N]`.
      response: `[L]`, the direct sound first.
    """
    return _same_level(wave, signal.oaconvolve(wave, response)[: len(wave)])


def _same_level(wave: np.ndarray, changed: np.ndarray) -> np.ndarray:
    """The changed wave at the level of the wave."""
    powers = [np.mean(np.square(w)) + np.finfo(np.float32).tiny for w in (wave, changed)]  # silence stays silence
    return within_range(changed * np.sqrt(powers[0] / powers[1]))


def telephone(wave: np.ndarray, band: tuple[float, float], codec: str) -> np.ndarray:
    """A wave through a telephone: 8 kHz, a band in Hz, a codec of `CODECS`, and back, with length and timing kept.

    The band is filtered forwards and backwards, which adds no delay.
    """
    narrow = soxr.resample(wave, io.RATE, TELEPHONE_RATE)
    filters = signal.butter(3, band, "bandpass", fs=TELEPHONE_RATE, output="sos")
    narrow = within_range(signal.sosfiltfilt(filters, narrow, padlen=min(200, len(narrow) - 1)))
    line = BytesIO()
    soundfile.write(line, narrow, TELEPHONE_RATE, format="WAV", subtype=codec)
    line.seek(0)
    received, _ = soundfile.read(line, dtype="float32")
    wide = soxr.resample(received, TELEPHONE_RATE, io.RATE)
    return within_range(np.pad(wide, (0, max(0, len(wave) - len(wide))))[: len(wave)])
