"""What the device was asked for and has not told yet."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Int32

from fac_jax.serving.engine.talks import Talk
from fac_jax.serving.metrics import Metrics


class Told(NamedTuple):
    """What the device tells of a reply.

    Attributes:
      talk: the reply.
      row: see `programs.told`.
      begins: whether it has just begun.
      at: when it was read, in seconds of the clock.
    """

    talk: Talk
    row: Int32[np.ndarray, " N"]
    begins: bool
    at: float


@dataclasses.dataclass(frozen=True, eq=False)
class _Output:
    """What the device tells of some slots when it has done what was asked of it.

    Attributes:
      told: see `programs.told`.
      talks: the replies by slot of which it tells something new.
      begins: whether they have just begun.
      asked_at: when the device was asked.
    """

    told: jax.Array
    talks: Mapping[int, Talk]
    begins: bool
    asked_at: float


class Outputs:
    """Outputs of the device in the order in which they were asked for."""

    def __init__(self, metrics: Metrics, clock: Callable[[], float]) -> None:
        """Begins without any; the seconds of every step go to the metrics."""
        self._metrics, self._clock = metrics, clock
        self._asked: deque[_Output] = deque()
        self._read_at = 0.0

    def __len__(self) -> int:
        return len(self._asked)

    def add(self, told: jax.Array, talks: Mapping[int, Talk], begins: bool) -> None:
        """Takes what the device was just asked for: of these replies by slot, whether they begin or go on."""
        self._asked.append(_Output(told, talks, begins, self._clock()))

    def read(self, leave: int) -> Iterator[Told]:
        """Yields what is told of replies that are being made, up to the last `leave` outputs; waits for the device."""
        while len(self._asked) > leave:
            output = self._asked.popleft()
            rows = np.asarray(output.told)
            now = self._clock()
            if not output.begins:
                self._metrics.step.observe(now - max(output.asked_at, self._read_at))
            self._read_at = now
            for slot, talk in output.talks.items():
                if talk.stage == "made":
                    yield Told(talk, rows[slot], output.begins, now)

    def clear(self) -> None:
        """Forgets all that is not read."""
        self._asked.clear()
