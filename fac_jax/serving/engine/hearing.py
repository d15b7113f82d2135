"""A user's audio, which is encoded while it arrives, in the engine's thread, if the model can do that."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

import numpy as np
from jaxtyping import Float32

from fac_jax.api import Model
from fac_jax.audio.io import RATE
from fac_jax.batching.conversation import StoredFeatures
from fac_jax.generation.listening import Listener

T = TypeVar("T")

PIECE_S: Final = 0.5  # of audio that the engine's thread is woken for

_log = logging.getLogger(__name__)


class Whole:
    """A `Listening` (`fac_jax.serving.talk`) of a model that encodes whole waves: the engine has nothing to do yet."""

    def __init__(self) -> None:
        """Begins."""
        self._pushed: list[np.ndarray] = []

    def push(self, samples: Float32[np.ndarray, " N"]) -> None:
        """See `Listening`."""
        self._pushed.append(samples)

    async def close(self) -> tuple[Float32[np.ndarray, " N"], StoredFeatures | None]:
        """See `Listening`."""
        return np.concatenate([np.zeros(0, np.float32), *self._pushed]), None

    def drop(self) -> None:
        """See `Listening`."""
        self._pushed.clear()


class Hearing:
    """A `Listening` (`fac_jax.serving.talk`): the loop calls its methods, and the engine's thread does the work."""

    def __init__(self, model: Model, do: Callable[[Callable[[], None]], None]) -> None:
        """Begins; `do` has something done by the engine's thread."""
        self._model, self._do = model, do
        self._pushed: deque[np.ndarray] = deque()
        self._asleep = 0  # samples since the engine's thread was woken
        self._all: list[np.ndarray] = []
        self._listener: Listener | None = None
        self._failed = self._dropped = False

    def push(self, samples: Float32[np.ndarray, " N"]) -> None:
        """See `Listening`."""
        self._pushed.append(samples)
        self._asleep += len(samples)
        if self._asleep >= PIECE_S * RATE:
            self._asleep = 0
            self._do(self._take)

    async def close(self) -> tuple[Float32[np.ndarray, " N"], StoredFeatures | None]:
        """See `Listening`."""
        loop = asyncio.get_running_loop()
        closed = loop.create_future()

        def close() -> None:
            self._take()
            heard = self._guarded(self._close)
            wave = np.concatenate([np.zeros(0, np.float32), *self._all])
            found = (wave, None) if heard is None else heard
            loop.call_soon_threadsafe(lambda: closed.done() or closed.set_result(found))

        self._do(close)
        return await closed

    def drop(self) -> None:
        """See `Listening`."""
        self._dropped = True
        self._do(self._forget)

    def _take(self) -> None:
        """Takes all samples that have come, which may be those of several calls."""
        pushed = [self._pushed.popleft() for _ in range(len(self._pushed))]
        if pushed and not self._dropped:
            self._all += pushed
            self._guarded(lambda: self._hear(np.concatenate(pushed)))

    def _hear(self, samples: np.ndarray) -> None:
        if self._listener is None:
            self._listener = Listener(self._model.module, self._model.params, RATE)
        self._listener.push(samples)

    def _close(self) -> tuple[np.ndarray, StoredFeatures | None] | None:
        return None if self._listener is None else self._listener.close()

    def _guarded(self, act: Callable[[], T]) -> T | None:
        """Does something with the listener; after a failure audio is not encoded on the way, but with its request."""
        if self._failed:
            return None
        try:
            return act()
        except (RuntimeError, ValueError):  # of the device, or of samples that are no audio
            _log.exception("a user's audio could not be encoded while it came")
            self._failed = True
            return None

    def _forget(self) -> None:
        self._pushed.clear()
        self._all, self._listener = [], None
