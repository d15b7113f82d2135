"""Speech of a codec that works on the host, in threads of its own, so that the device need not wait for it."""

import dataclasses
import math
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Final

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.codec.base import Codec, SpeechStream, Spoken, check_place

BITE: Final = 10  # ids that are spoken at a time, so that no stream waits for all of another


@dataclasses.dataclass(eq=False)
class _Stream:
    """A stream in a place.

    Attributes:
      place: its place.
      stream: of the codec.
      ids: that are not spoken yet.
      ended: whether there will be no others.
      running: whether some of it is being spoken.
      stopped: whether nobody wants it any more.
      first_at: when its first samples were made.
      samples: that were made.
    """

    place: int
    stream: SpeechStream
    ids: Int32[np.ndarray, " T"] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    ended: bool = False
    running: bool = False
    stopped: bool = False
    first_at: float = 0.0
    samples: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class _Bite:
    """What a thread has spoken, and how long it took."""

    wave: Float32[np.ndarray, " N"]
    last: bool
    seconds: float


class AsidePool:
    """A `SpeechPool` whose streams are spoken by an executor; whose listener has least left to listen to is first.

    Its methods are called by one thread.
    """

    def __init__(
        self,
        codec: Codec,
        places: int,
        executor: Executor,
        threads: int,
        wake: Callable[[], None],
        observe: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Makes the places, all of them free.

        Args:
          threads: bites that the executor gets at once.
          wake: is called, by any thread, when `speak` has something to give.
          observe: is told the seconds of every bite.
        """
        self._codec, self._executor, self._threads, self._clock = codec, executor, threads, clock
        self._wake, self._observe = wake, observe
        self._places: list[_Stream | None] = [None] * places
        self._running: dict[Future[_Bite], _Stream] = {}

    @property
    def ready(self) -> bool:
        """Returns whether `speak` has something to do."""
        hungry = len(self._running) < self._threads and self._next() is not None
        return hungry or any(future.done() for future in self._running)

    def start(self) -> int | None:
        """See `SpeechPool`."""
        if None not in self._places:
            return None
        place = self._places.index(None)
        self._places[place] = _Stream(place, self._codec.stream())
        return place

    def push(self, place: int, ids: Int32[np.ndarray, " T"]) -> None:
        """See `SpeechPool`."""
        stream = check_place(self._places, place)
        stream.ids = np.concatenate([stream.ids, ids])

    def end(self, place: int) -> None:
        """See `SpeechPool`."""
        check_place(self._places, place).ended = True

    def stop(self, place: int) -> None:
        """See `SpeechPool`; what is being spoken of the stream is thrown away."""
        check_place(self._places, place).stopped = True
        self._places[place] = None

    def speak(self) -> list[Spoken]:
        """Returns what has been spoken since the last call, and has more spoken."""
        found = self._spoken()
        while len(self._running) < self._threads and (stream := self._next()) is not None:
            ids, stream.ids = stream.ids[:BITE], stream.ids[BITE:]
            stream.running = True
            future = self._executor.submit(_bite, stream.stream, ids, stream.ended and not stream.ids.size)
            self._running[future] = stream
            future.add_done_callback(lambda _: self._wake())
        return found

    def _next(self) -> _Stream | None:
        """The stream that is the next to be spoken."""
        due = (s for s in self._places if s is not None and not s.running and (s.ids.size or s.ended))
        now = self._clock()
        return min(due, key=lambda stream: self._in_hand(stream, now), default=None)

    def _spoken(self) -> list[Spoken]:
        found = []
        for future in [future for future in self._running if future.done()]:
            stream, bite = self._running.pop(future), future.result()
            self._observe(bite.seconds)
            stream.running = False
            if stream.stopped:
                continue
            stream.first_at = stream.first_at if stream.samples else self._clock()
            stream.samples += len(bite.wave)
            if bite.last:
                self._places[stream.place] = None
            if bite.last or bite.wave.size:
                found.append(Spoken(stream.place, bite.wave, bite.last))
        return found

    def _in_hand(self, stream: _Stream, now: float) -> float:
        """Returns the seconds of speech that are made and cannot have been heard yet; least where none is made."""
        return stream.samples / self._codec.rate - (now - stream.first_at) if stream.samples else -math.inf


def _bite(stream: SpeechStream, ids: Int32[np.ndarray, " T"], last: bool) -> _Bite:
    """Speaks some ids, and the rest of the stream if they are its `last`; runs in a thread of the executor."""
    began = time.perf_counter()
    wave = stream.push(ids)
    if last:
        wave = np.concatenate([wave, stream.finish()])
    return _Bite(wave, last, time.perf_counter() - began)
