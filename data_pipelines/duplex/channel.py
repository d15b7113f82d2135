"""The two channels of a call: what the user's microphone hears, and what the assistant plays."""

import dataclasses
from typing import Final

import numpy as np
from jaxtyping import Float32

from data_pipelines.augment.effects import (
    COLOURS,
    coloured_noise,
    recorded_noise,
    recordings,
    reverberate,
    simulated_room,
    within_range,
)
from data_pipelines.augment.operations import BABBLE, Noise, Room, Telephone
from data_pipelines.duplex.events import Range
from data_pipelines.duplex.overlays import faded
from data_pipelines.duplex.timeline import Timeline, one_of
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT
from fac_jax.types import InputError

FADE: Final = RATE * 3 // 100  # samples over which a turn that is cut dies away, 30 ms
PIECE: Final = 30.0  # seconds of noise, or of its absence, at most
SILENT: Final = 1e-9  # power of a wave without sound


@dataclasses.dataclass(frozen=True)
class Echo:
    """What the user's microphone hears of the assistant.

    Attributes:
      probability: of a call.
      gain: range of the factor on the wave that was played.
      seconds: range of its delay.
      rt60: range of the seconds in which its room falls silent (by 60 dB).
      direct_db: range of its direct sound over its reverberation, in decibels.
    """

    probability: float = 0.3
    gain: Range = (0.0, 0.2)
    seconds: Range = (0.1, 0.5)
    rt60: Range = (0.1, 0.6)
    direct_db: Range = (0.0, 12.0)

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise InputError(f"channel.echo.probability is {self.probability}: give a share from 0 to 1")

    def __call__(self, played: Float32[np.ndarray, " N"], rng: np.random.Generator) -> Float32[np.ndarray, " N"]:
        """Returns the echo of a wave that was played, of its length."""
        response = simulated_room(rng.uniform(*self.rt60), rng.uniform(*self.direct_db), rng)
        delay = round(rng.uniform(*self.seconds) * RATE)
        late = np.pad(played, (delay, 0))[: len(played)]
        return (reverberate(late, response) * rng.uniform(*self.gain)).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class ChannelConfig:
    """What is done to the user's channel, in the order in which sound travels.

    Attributes:
      level: range of the user's level, RMS in decibels of full scale.
      room: reverberation of all that the microphone hears but the echo.
      echo: of the assistant.
      noise: all the time, its level set against the user's speech; "babble" is none of its sources.
      pieces: share of the pieces of noise that are silent.
      telephone: at the end.
    """

    level: Range = (-30.0, -16.0)
    room: Room = Room(0.3)
    echo: Echo = Echo()
    noise: Noise = Noise(0.5, (0.0, 30.0), ("white", "pink", "brown"))
    pieces: float = 0.5
    telephone: Telephone = Telephone(0.0)

    def __post_init__(self) -> None:
        if BABBLE in self.noise.sources:
            raise InputError(f"channel.noise.sources names {BABBLE}, which is made of one speaker's wave")
        if not 0 <= self.pieces <= 1:
            raise InputError(f"channel.pieces is {self.pieces}: give a share from 0 to 1")


def played(line: Timeline) -> Float32[np.ndarray, " N"]:
    """Returns the assistant's channel, float32 `[slots * SLOT]`: digital zero outside its turns.

    A turn that is cut fades over 30 ms at its end.
    """
    channel = np.zeros(line.slots * SLOT, np.float32)
    for turn in line.turns:
        place = channel[turn.onset : turn.closing * SLOT]
        wave = turn.reply.wave[: len(place)]
        place[: len(wave)] = wave
        if turn.cut and len(place):
            place[-FADE:] *= np.linspace(1.0, 0.0, min(FADE, len(place)), dtype=np.float32)
    return channel


def heard(
    line: Timeline, assistant: Float32[np.ndarray, " N"], config: ChannelConfig, rng: np.random.Generator
) -> Float32[np.ndarray, " N"]:
    """Returns the user's channel, float32 `[slots * SLOT]` in [-1, 1], for what the assistant plays.

    Every level is set before the room, the echo and the noise, and the sum is scaled down only if it would clip.
    """
    level = rng.uniform(*config.level)
    channel = np.zeros(line.slots * SLOT, np.float32)
    for sound in line.sounds:
        channel[sound.onset : sound.end] += _at_level(sound.wave, level + sound.decibels)
    if rng.random() < config.room.probability and channel.any():
        channel = config.room(channel, rng)
    if rng.random() < config.echo.probability:
        channel = channel + config.echo(assistant, rng)
    if rng.random() < config.noise.probability:
        channel = channel + _noise(len(channel), level, config, rng)
    if rng.random() < config.telephone.probability:
        channel = config.telephone(within_range(channel), rng)
    return within_range(channel)


def _at_level(wave: Float32[np.ndarray, " N"], decibels: float) -> Float32[np.ndarray, " N"]:
    """Returns a wave at an RMS in decibels of full scale; one without sound stays as it is."""
    power = float(np.mean(np.square(wave, dtype=np.float64)))
    return wave if power < SILENT else (wave * np.sqrt(10 ** (decibels / 10) / power)).astype(np.float32)


def _noise(
    samples: int, level: float, config: ChannelConfig, rng: np.random.Generator
) -> Float32[np.ndarray, " samples"]:
    """Returns noise whose pieces, of up to 30 s, are silent by turns that are drawn."""
    snr, source = rng.uniform(*config.noise.snr_db), one_of(rng, config.noise.sources)
    if source in COLOURS:
        noise = coloured_noise(samples, source, rng)
    else:
        noise = recorded_noise(samples, one_of(rng, recordings(source)), rng)
    noise = noise * np.float32(10 ** ((level - snr) / 20))
    start = 0
    while start < samples:
        end = min(samples, start + round(rng.uniform(0, PIECE) * RATE) + 1)
        noise[start:end] = 0 if rng.random() < config.pieces else faded(noise[start:end])
        start = end
    return noise
