"""The clock of a call: what is placed on it, and the rules by which turns take its slots.

A time line is built by functions that return a longer one, so that what does not fit is given up by keeping the one
before.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float32

from data_pipelines.duplex.dialogue import Reply, Said
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, Event, EventKind

T = TypeVar("T")
Source: TypeAlias = Literal["user", "other"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sound:
    """A wave on the user's channel.

    Attributes:
      source: the user, or another voice or noise, whose level is set against the user's.
      onset: its first sample.
      wave: float32 at 16 kHz, of any level.
      decibels: its level over that of the user's speech.
    """

    source: Source
    onset: int
    wave: Float32[np.ndarray, " N"]
    decibels: float = 0.0

    @property
    def end(self) -> int:
        """Returns the sample after its last."""
        return self.onset + len(self.wave)


@dataclasses.dataclass(frozen=True, eq=False)
class PlayedTurn:
    """A turn of the assistant: a reply, and the slots that it takes (`fac_jax.duplex.call`).

    Attributes:
      reply: all of it.
      opening: slot of `audio_bos`.
      closing: slot of `audio_eos`.
      audible: first slot in which it is heard; `closing` if it never is.
      cut: whether it closes before the reply ends.
    """

    reply: Reply
    opening: int
    closing: int
    audible: int
    cut: bool = False

    @property
    def onset(self) -> int:
        """Returns the first sample that is heard."""
        return self.audible * SLOT

    @property
    def spoken(self) -> int:
        """Returns the sample at which its last word ends, or at which it is cut."""
        return min(self.onset + self.reply.spoken, self.closing * SLOT)


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """A call, or the beginning of one.

    Attributes:
      delay: groups of speech bos of a turn.
      sounds: on the user's channel.
      turns: of the assistant, in order.
      events: in any order until the call is `finished`.
      now: sample from which on the user may say the next thing.
      slots: length of the finished call.
    """

    delay: int
    sounds: tuple[Sound, ...] = ()
    turns: tuple[PlayedTurn, ...] = ()
    events: tuple[Event, ...] = ()
    now: int = 0
    slots: int = 0

    @property
    def free(self) -> int:
        """Returns the first slot in which the assistant may open a turn."""
        return self.turns[-1].closing + 1 if self.turns else 0

    @property
    def end(self) -> int:
        """Returns the first slot after everything that was placed."""
        return max([self.free, *(-(-sound.end // SLOT) for sound in self.sounds)])

    def say(self, onset: int, said: Said, decibels: float = 0.0, source: Source = "user") -> "Timeline":
        """Places what is said on the user's channel; the next thing comes after it."""
        sound = Sound(source, onset, said.wave, decibels)
        return dataclasses.replace(self, sounds=(*self.sounds, sound), now=max(self.now, sound.end))

    def answer(self, reply: Reply, opening: int) -> "Timeline":
        """Places a whole turn; the next thing comes after it."""
        audible = opening + 1 + self.delay
        turn = PlayedTurn(reply, opening, audible + reply.groups, audible)
        return dataclasses.replace(self, turns=(*self.turns, turn), now=max(self.now, turn.spoken))

    def cut(self, closing: int) -> "Timeline":
        """Lets the last turn close in an earlier slot; the next thing may come before that."""
        *before, turn = self.turns
        short = dataclasses.replace(turn, closing=closing, audible=min(turn.audible, closing), cut=True)
        now = max([0, *(sound.end for sound in self.sounds)])
        return dataclasses.replace(self, turns=(*before, short), now=now)

    def wait(self, until: int) -> "Timeline":
        """Lets nothing new be said before a sample."""
        return dataclasses.replace(self, now=max(self.now, until))

    def note(self, kind: EventKind, onset: int, end: int, text: str = "", turn: int | None = None) -> "Timeline":
        """Notes an event."""
        return dataclasses.replace(self, events=(*self.events, Event(kind, onset, end, text, turn)))

    def finished(self, slots: int) -> "Timeline":
        """Ends the call after so many slots, with its events in order."""
        ordered = sorted(self.events, key=lambda event: (event.onset, event.end, event.kind))
        return dataclasses.replace(self, events=tuple(ordered), slots=slots)


def samples(seconds: float) -> int:
    """Returns the nearest number of samples."""
    return round(seconds * RATE)


def between(rng: np.random.Generator, low: float, high: float) -> int:
    """Draws a sample from the seconds [low, high)."""
    return samples(rng.uniform(low, high))


def one_of(rng: np.random.Generator, values: Sequence[T]) -> T:
    """Draws a value."""
    return values[int(rng.integers(len(values)))]


def choice(rng: np.random.Generator, shares: Sequence[float]) -> int:
    """Draws an index by its probability."""
    return int(rng.choice(len(shares), p=shares))
