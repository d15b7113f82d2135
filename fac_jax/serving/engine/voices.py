"""The speech of replies, side by side: a place in the codec's pool for each that is being spoken."""

import dataclasses
import time
from collections.abc import Callable, KeysView
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.codec.base import Codec, SpeechPool
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.codec.cosyvoice.pool import VoicePool
from fac_jax.serving.engine.aside import AsidePool
from fac_jax.serving.engine.talks import Talk

OWN: Final = "default"  # name of the only voice of a codec that names none
WARM_IDS: Final = 50  # more than two chunks of a stream


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """What the speech of a reply goes on with; `last` is whether nothing follows."""

    talk: Talk
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


class Voices:
    """Speaks the ids of many replies; one that finds no place free is spoken when there is one.

    A codec that works on the device does so in the thread that calls `speak`, any other in threads of its own.
    """

    def __init__(
        self,
        codec: Codec | None,
        places: int,
        threads: int,
        wake: Callable[[], None],
        observe: Callable[[float], None],
        executor: Executor | None = None,
    ) -> None:
        """Makes the places.

        Args:
          threads: for a codec that works on the host.
          wake: is called, by any thread, when `speak` has something to give.
          observe: is told the seconds of every batch of the codec.
          executor: that speaks for a codec of the host; None for threads.
        """
        self._codec, self._places, self._threads = codec, places, threads
        self._wake, self._observe = wake, observe
        self._executor = executor or ThreadPoolExecutor(threads, "codec")
        self._speakers = codec.speakers() if isinstance(codec, CosyVoice3) else {}
        self.reset()

    def reset(self) -> None:
        """Forgets all streams."""
        self._streams: dict[Talk, _Stream] = {}
        self._at: dict[int, Talk] = {}
        self._more = False  # whether the pool of the device may have another chunk
        self._pool: SpeechPool | None = None  # first, since there may be memory for one
        self._pool = self._made()

    def close(self) -> None:
        """Ends the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def keys(self) -> KeysView[Talk]:
        """Returns the replies that are being spoken."""
        return self._streams.keys()

    @property
    def waiting(self) -> bool:
        """Returns whether `speak` has something to do."""
        if isinstance(self._pool, AsidePool) and self._pool.ready:
            return True
        return self._more or any(self._due(stream) for stream in self._streams.values())

    def push(self, talk: Talk, ids: Int32[np.ndarray, " T"]) -> None:
        """Takes the next ids of a reply; the first begin its speech."""
        self._streams.setdefault(talk, _Stream()).ids.append(ids)

    def end(self, talk: Talk) -> bool:
        """Says that a reply has all its ids; returns whether something of it is still to be said."""
        if talk not in self._streams:
            return False
        self._streams[talk].ended = True
        return True

    def stop(self, talk: Talk) -> None:
        """Ends the speech of a reply at once."""
        stream = self._streams.pop(talk, None)
        if stream is not None and stream.place is not None and self._pool is not None:
            self._pool.stop(stream.place)
            del self._at[stream.place]

    def speak(self) -> list[Said]:
        """Speaks the next chunk of every stream that has one."""
        if self._pool is None:
            return []
        for talk, stream in self._streams.items():
            if self._due(stream):
                self._feed(self._pool, talk, stream)
        began = time.perf_counter()
        found = [self._said(one.place, one.wave, one.last) for one in self._pool.speak()]
        if isinstance(self._pool, VoicePool) and found:
            self._observe(time.perf_counter() - began)
            self._more = bool(self._streams)
        else:
            self._more = False
        return found

    def warm_up(self) -> None:
        """Compiles what speaks any number of replies together, in all places of the pool."""
        if self._codec is None:
            return
        pool = self._codec.pool(1)
        counts = {1}
        if isinstance(self._pool, VoicePool):
            pool = self._pool
            counts = {min(1 << power, self._places) for power in range(self._places.bit_length() + 1)}
        for count in sorted(counts):
            for place in [pool.start() for _ in range(count)]:
                assert place is not None
                pool.push(place, np.zeros(WARM_IDS, np.int32))
                pool.end(place)
            while pool.speak():
                pass

    def _made(self) -> SpeechPool | None:
        if self._codec is None:
            return None
        if isinstance(self._codec, CosyVoice3):
            return self._codec.pool(self._places)
        return AsidePool(self._codec, self._places, self._executor, self._threads, self._wake, self._observe)

    def _due(self, stream: _Stream) -> bool:
        """Whether the codec can be given something of a stream."""
        new = bool(stream.ids) or stream.ended != stream.told
        return new and (stream.place is not None or len(self._at) < self._places)

    def _feed(self, pool: SpeechPool, talk: Talk, stream: _Stream) -> None:
        """Gives the codec what it does not have of a stream."""
        if stream.place is None:
            speaker = self._speakers.get(talk.request.voice or "")
            stream.place = pool.start(speaker) if isinstance(pool, VoicePool) else pool.start()
            assert stream.place is not None
            self._at[stream.place] = talk
        if stream.ids:
            pool.push(stream.place, np.concatenate(stream.ids))
            stream.ids = []
        if stream.ended:
            pool.end(stream.place)
            stream.told = True

    def _said(self, place: int, wave: np.ndarray, last: bool) -> Said:
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
