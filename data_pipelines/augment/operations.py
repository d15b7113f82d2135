"""Operations that change the wave of user audio: functions `(wave, generator) -> wave` with a probability and ranges.

Every draw is uniform.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final, TypeAlias, TypeVar

import numpy as np

from data_pipelines.augment import effects
from data_pipelines.augment.effects import COLOURS, coloured_noise, mix, recorded_noise, recordings
from fac_jax.audio.mel import RATE
from fac_jax.types import InputError

T = TypeVar("T")

SIMULATED: Final = "simulated"  # a room without a recorded impulse response
BABBLE: Final = "babble"


@dataclasses.dataclass(frozen=True)
class Speed:
    """Plays a wave faster or slower, which changes its length and its pitch.

    Attributes:
      probability: share of waves that are changed.
      factor: range of the speed; 1.25 takes four fifths of the time.
    """

    probability: float = 1.0
    factor: tuple[float, float] = (0.9, 1.1)

    def __post_init__(self) -> None:
        _check("speed", self.probability, factor=(self.factor, 0.5, 2))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return effects.change_speed(wave, rng.uniform(*self.factor))


@dataclasses.dataclass(frozen=True)
class Silence:
    """Digital silence before and behind a wave, which a room and noise then fill.

    Attributes:
      probability: share of waves that are changed.
      seconds: range of the silence on each side.
      within: most seconds of a wave with its silence, of which there is less if it would be longer.
    """

    probability: float = 0.8
    seconds: tuple[float, float] = (0.0, 0.8)
    within: float = 30.0

    def __post_init__(self) -> None:
        _check("silence", self.probability, seconds=(self.seconds, 0, 30), within=((0.0, self.within), 0, 3600))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        before, behind = (rng.uniform(*self.seconds) * RATE for _ in range(2))
        room = max(0.0, self.within * RATE - len(wave))
        share = min(1.0, room / max(1.0, before + behind))
        return np.pad(wave, (int(before * share), int(behind * share)))


@dataclasses.dataclass(frozen=True)
class Room:
    """Reverberation.

    Attributes:
      probability: share of waves that are changed.
      sources: "simulated" or folders of impulse responses, one of which is drawn.
      rt60: range of the seconds in which a simulated room falls silent (by 60 dB).
      direct_db: range of the direct sound over a simulated room's reverberation, in decibels.
    """

    probability: float = 0.3
    sources: Sequence[str] = (SIMULATED,)
    rt60: tuple[float, float] = (0.1, 0.6)
    direct_db: tuple[float, float] = (0.0, 12.0)

    def __post_init__(self) -> None:
        _check("room", self.probability, rt60=(self.rt60, 0.02, 10), direct_db=(self.direct_db, -40, 60))
        _check_sources("room", self.sources, (SIMULATED,))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        source = _one_of(self.sources, rng)
        if source == SIMULATED:
            response = effects.simulated_room(rng.uniform(*self.rt60), rng.uniform(*self.direct_db), rng)
        else:
            response = effects.recorded_room(_one_of(recordings(source), rng))
        return effects.reverberate(wave, response)


@dataclasses.dataclass(frozen=True)
class Noise:
    """Noise added to the speech.

    Attributes:
      probability: share of waves that are changed.
      snr_db: range of the power of the speech over that of the noise, both over the whole wave, in decibels.
      sources: colours (`effects.COLOURS`), "babble" (`effects.babble`) or folders of recordings, one of which is drawn.
    """

    probability: float = 0.5
    snr_db: tuple[float, float] = (5.0, 30.0)
    sources: Sequence[str] = tuple(COLOURS)

    def __post_init__(self) -> None:
        _check("noise", self.probability, snr_db=(self.snr_db, -40, 100))
        _check_sources("noise", self.sources, (*COLOURS, BABBLE))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        source, snr = _one_of(self.sources, rng), rng.uniform(*self.snr_db)
        if source in COLOURS:
            return mix(wave, coloured_noise(len(wave), source, rng), snr)
        if source == BABBLE:
            return mix(wave, effects.babble(wave, rng), snr)
        return mix(wave, recorded_noise(len(wave), _one_of(recordings(source), rng), rng), snr)


@dataclasses.dataclass(frozen=True)
class Gain:
    """Gain or attenuation, as far as [-1, 1] allows.

    Attributes:
      probability: share of waves that are changed.
      gain_db: range in decibels.
    """

    probability: float = 1.0
    gain_db: tuple[float, float] = (-10.0, 6.0)

    def __post_init__(self) -> None:
        _check("gain", self.probability, gain_db=(self.gain_db, -60, 60))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return effects.amplify(wave, rng.uniform(*self.gain_db))


@dataclasses.dataclass(frozen=True)
class Tilt:
    """A microphone that favours low or high frequencies.

    Attributes:
      probability: share of waves that are changed.
      db_per_octave: range of the gain around 1 kHz, in decibels an octave.
    """

    probability: float = 0.5
    db_per_octave: tuple[float, float] = (-6.0, 6.0)

    def __post_init__(self) -> None:
        _check("tilt", self.probability, db_per_octave=(self.db_per_octave, -24, 24))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return effects.tilt(wave, rng.uniform(*self.db_per_octave))


@dataclasses.dataclass(frozen=True)
class Clip:
    """A recording that is too loud for its microphone.

    Attributes:
      probability: share of waves that are changed.
      over_db: range of the peak above full scale, in decibels.
    """

    probability: float = 0.1
    over_db: tuple[float, float] = (0.0, 9.0)

    def __post_init__(self) -> None:
        _check("clip", self.probability, over_db=(self.over_db, 0, 60))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return effects.clip(wave, rng.uniform(*self.over_db))


@dataclasses.dataclass(frozen=True)
class Narrow:
    """A recording at a lower sampling rate.

    Attributes:
      probability: share of waves that are changed.
      rate: range of the sampling rate in Hz.
    """

    probability: float = 0.1
    rate: tuple[float, float] = (8000.0, 12000.0)

    def __post_init__(self) -> None:
        _check("narrow", self.probability, rate=(self.rate, 2000, RATE))

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return effects.narrow(wave, round(rng.uniform(*self.rate) / 100) * 100)


@dataclasses.dataclass(frozen=True)
class Telephone:
    """A telephone line: 8 kHz, its band, its codec.

    Attributes:
      probability: share of waves that are changed.
      band: lowest and highest frequency that pass, in Hz.
      codecs: some of `effects.CODECS`, one of which is drawn.
    """

    probability: float = 0.1
    band: tuple[float, float] = (300.0, 3400.0)
    codecs: Sequence[str] = effects.CODECS

    def __post_init__(self) -> None:
        _check("telephone", self.probability, band=(self.band, 1, effects.TELEPHONE_RATE / 2 - 1))
        unknown = _check_names("telephone.codecs", self.codecs, effects.CODECS)
        if unknown:
            known = ", ".join(effects.CODECS)
            raise InputError(f"augmentation telephone.codecs: unknown codec {unknown[0]!r}; known: {known}")

    def __call__(self, wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return effects.telephone(wave, self.band, _one_of(self.codecs, rng))


# Called with a wave float32 `[N]` at 16 kHz, each returns a new one within [-1, 1], `[N]` except for the first two.
Operation: TypeAlias = Speed | Silence | Room | Noise | Tilt | Gain | Clip | Narrow | Telephone


def _one_of(values: Sequence[T], rng: np.random.Generator) -> T:
    return values[int(rng.integers(len(values)))]


def _check(operation: str, probability: float, **ranges: tuple[Sequence[float], float, float]) -> None:
    """Raises InputError for an invalid probability or range; each range is given with its least and greatest value."""
    where = f"augmentation {operation}"
    if not (isinstance(probability, int | float) and 0 <= probability <= 1):
        raise InputError(f"{where}.probability is {probability!r}: give a share from 0 to 1")
    for name, (given, least, most) in ranges.items():
        wanted = f"give two numbers, the lesser first, both from {least:g} to {most:g}"
        pair = list(given) if isinstance(given, tuple | list) else []
        numbers = len(pair) == 2 and all(isinstance(value, int | float) for value in pair)
        if not numbers or not least <= pair[0] <= pair[1] <= most:
            raise InputError(f"{where}.{name} is {given!r}: {wanted}")


def _check_names(where: str, names: Sequence[str], known: Sequence[str], others: str = "") -> list[str]:
    """The names that are not known. Raises InputError for anything but a list of names."""
    if isinstance(names, str) or not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"augmentation {where} is {names!r}: give a list of {', '.join(known)}{others}")
    return [name for name in names if name not in known]


def _check_sources(operation: str, sources: Sequence[str], known: Sequence[str]) -> None:
    for folder in _check_names(f"{operation}.sources", sources, known, " and folders of sounds"):
        recordings(folder)
