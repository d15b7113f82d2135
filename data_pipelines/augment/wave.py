"""Augmentation of the waves of user audio, before features, decided by (seed, epoch, row).

Operations (`augment/operations.py`) act in the order in which sound travels: the speaker's pace, the room, its noise,
the microphone, the line.
"""

import dataclasses
import math
import zlib

import numpy as np

from data_pipelines.augment.operations import (
    Clip,
    Gain,
    Narrow,
    Noise,
    Operation,
    Room,
    Silence,
    Speed,
    Telephone,
    Tilt,
)
from fac_jax.audio.mel import RATE
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class WaveAugmentConfig:
    """The operations that act, in the order of the fields; None leaves one out."""

    speed: Speed | None = None
    silence: Silence | None = None
    room: Room | None = None
    noise: Noise | None = None
    tilt: Tilt | None = None
    gain: Gain | None = None
    clip: Clip | None = None
    narrow: Narrow | None = None
    telephone: Telephone | None = None

    def __post_init__(self) -> None:
        for name, operation in self.operations():
            if not dataclasses.is_dataclass(operation):
                raise InputError(f"augmentation {name} is {operation!r}: give its keys and values, or None")

    def operations(self) -> list[tuple[str, Operation]]:
        """Names and operations that act, in order."""
        named = [(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]
        return [(name, operation) for name, operation in named if operation is not None]

    def longest(self, samples: int) -> int:
        """Returns the most samples that a wave of so many can have afterwards; static shapes leave room for them."""
        stretched = math.ceil(samples / self.speed.factor[0]) + 1 if self.speed else samples
        most = max(samples, stretched)
        if self.silence is None:
            return most
        padded = most + 2 * math.ceil(self.silence.seconds[1] * RATE)
        return max(most, min(padded, int(self.silence.within * RATE)))


def augment_wave(
    wave: np.ndarray, config: WaveAugmentConfig, seed: int, epoch: int, row: str, turn: int = 0
) -> np.ndarray:
    """Applies all operations to a wave float32 `[N]` at 16 kHz; each draws from its own generator.

    The draws of an operation do not depend on order, workers, hosts or the other operations of the config.
    """
    for name, operation in config.operations():
        rng = np.random.default_rng((seed, epoch, zlib.crc32(row.encode()), turn, zlib.crc32(name.encode())))
        if rng.random() < operation.probability:
            wave = operation(wave, rng)
    return wave


def augment_waves(
    conversation: Conversation, config: WaveAugmentConfig, seed: int, epoch: int, row: str | None = None
) -> Conversation:
    """Returns the conversation with changed user waves; the assistant's turns are not changed.

    A changed turn loses its log-mel and its speech ids, which belong to the wave before. `row` decides draws, so that
    both sides of a pair hear the same; it is the conversation's id if None.
    """
    name = conversation.id if row is None else row

    def change(number: int, turn: Turn) -> Turn:
        if turn.role != "user" or turn.wave is None:
            return turn
        wave = augment_wave(turn.wave, config, seed, epoch, name, number)
        return turn if wave is turn.wave else dataclasses.replace(turn, wave=wave, mel=None, speech=None)

    turns = tuple(change(number, turn) for number, turn in enumerate(conversation.turns))
    return dataclasses.replace(conversation, turns=turns)
