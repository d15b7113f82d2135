"""The speech of replies, side by side: a place in the codec's pool for each that is being spoken."""

import dataclasses
import time
from collections.abc import Callable, KeysView
from typing import Final, Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.codec.base import Codec, SpeechPool, Spoken
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.codec.cosyvoice.pool import VoicePool

OWN: Final = "default"  # name of the only voice of a codec that names none
WARM_IDS: Final = 50  # more than two chunks of a stream


class Speaks(Protocol):
    """What is spoken; `voice` is the name of the speaker, None for the codec's own."""

    @property
    def voice(self) -> str | None: ...


T = TypeVar("T", bound=Speaks)


@dataclasses.dataclass(frozen=True, eq=False)
class Said(Generic[T]):
    """What the speech of a reply goes on with; `last` is whether nothing follows."""

    talk: T
    wave: Float32[np.ndarray, " N"]
    last: bool


@dataclasses.dataclass(eq=False)
class _Stream:
    """A reply that is spoken.

    Attributes:
      place: in the pool; None before it has one.
      ids: that the codec does not have yet.
      ended: whether there will be no others; `told`: whether the codec knows.
    """

    place: int | None = None
    ids: list[np.ndarray] = dataclasses.field(default_factory=list)
    ended: bool = False
    told: bool = False


class Voices(Generic[T]):
    """Speaks the ids of many replies; one that finds no place free is spoken when there is one."""

    def __init__(self, codec: Codec | None, places: int, observe: Callable[[float], None]) -> None:
        """Makes the places; `observe` is told the seconds of every batch of the codec."""
        self._codec, self._places, self._observe = codec, places, observe
        self._speakers = codec.speakers() if isinstance(codec, CosyVoice3) else {}
        self.reset()

    def reset(self) -> None:
        """Forgets all streams."""
        self._streams: dict[T, _Stream] = {}
        self._at: dict[int, T] = {}
        self._asked: list[Spoken] = []  # that are not taken yet
        self._asked_at = 0.0
        self._more = False  # whether the pool may have another chunk
        self._pool: SpeechPool | None = None  # first, since there may be memory for one
        self._pool = None if self._codec is None else self._codec.pool(self._places)

    def keys(self) -> KeysView[T]:
        """Returns the replies that are being spoken."""
        return self._streams.keys()

    @property
    def waiting(self) -> bool:
        """Returns whether there is something to take, or to ask for."""
        return bool(self._asked) or self._more or any(self._due(stream) for stream in self._streams.values())

    def push(self, talk: T, ids: Int32[np.ndarray, " T"]) -> None:
        """Takes the next ids of a reply; the first begin its speech."""
        self._streams.setdefault(talk, _Stream()).ids.append(ids)

    def end(self, talk: T) -> bool:
        """Says that a reply has all its ids; returns whether something of it is still to be said."""
        if talk not in self._streams:
            return False
        self._streams[talk].ended = True
        return True

    def stop(self, talk: T) -> None:
        """Ends the speech of a reply at once; what was asked of it is not taken."""
        stream = self._streams.pop(talk, None)
        if stream is None or stream.place is None or self._pool is None:
            return
        asked = [one for one in self._asked if one.place == stream.place]
        self._asked = [one for one in self._asked if one not in asked]
        if not any(one.last for one in asked):  # the pool has freed the place of a stream that has ended
            self._pool.stop(stream.place)
        del self._at[stream.place]

    @property
    def asked(self) -> list[T]:
        """Returns the replies of which there is something to take."""
        return [self._at[one.place] for one in self._asked]

    def ask(self, urgent: Callable[[T], bool] | None = None) -> None:
        """Asks for the next chunk of every stream that has one; all that was asked for before has to be taken.

        Args:
          urgent: which streams are given new ids; None for all.
        """
        if self._pool is None:
            return
        for talk, stream in self._streams.items():
            if self._due(stream) and (urgent is None or urgent(talk)):
                self._feed(self._pool, talk, stream)
        self._asked_at = time.perf_counter()
        self._asked = self._pool.speak()
        self._more = bool(self._asked)

    def take(self) -> list[Said[T]]:
        """Returns what was asked for, and waits until the device has made it."""
        found = [self._said(one.place, one.wave, one.last) for one in self._asked]
        if found:
            self._observe(time.perf_counter() - self._asked_at)
        self._asked = []
        return found

    def speak(self) -> list[Said[T]]:
        """Speaks the next chunk of every stream that has one."""
        self.ask()
        return self.take()

    def warm_up(self) -> None:
        """Compiles what speaks any number of replies together, in all places of the pool."""
        pool = self._pool
        if pool is None:
            return
        counts = {min(1 << power, self._places) for power in range(self._places.bit_length() + 1)}
        for count in sorted(counts):
            for place in [pool.start() for _ in range(count)]:
                assert place is not None
                pool.push(place, np.zeros(WARM_IDS, np.int32))
                pool.end(place)
            while pool.speak():
                pass

    def _due(self, stream: _Stream) -> bool:
        """Whether the codec can be given something of a stream."""
        new = bool(stream.ids) or stream.ended != stream.told
        return new and (stream.place is not None or len(self._at) < self._places)

    def _feed(self, pool: SpeechPool, talk: T, stream: _Stream) -> None:
        """Gives the codec what it does not have of a stream."""
        if stream.place is None:
            speaker = self._speakers.get(talk.voice or "")
            stream.place = pool.start(speaker) if isinstance(pool, VoicePool) else pool.start()
            assert stream.place is not None
            self._at[stream.place] = talk
        if stream.ids:
            pool.push(stream.place, np.concatenate(stream.ids))
            stream.ids = []
        if stream.ended:
            pool.end(stream.place)
            stream.told = True

    def _said(self, place: int, wave: np.ndarray, last: bool) -> Said[T]:
        talk = self._at[place]
        if last:
            del self._at[place], self._streams[talk]
        return Said(talk, wave, last)


def names_of(codec: Codec | None) -> tuple[str, ...]:
    """Returns the names of a codec's speakers, its own first."""
    if isinstance(codec, CosyVoice3):
        own = codec.description.speaker
        return (own, *sorted(set(codec.speakers()) - {own}))
    return () if codec is None else (OWN,)
