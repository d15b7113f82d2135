"""One side of a recorded talk, on the time axis of the talk."""

import numpy as np
from jaxtyping import Int16

RATE = 24_000  # Hz of recordings


class Track:
    """Samples that are not written yet; silence is where nothing came."""

    def __init__(self) -> None:
        self._from = 0  # sample of the talk with which the pending ones begin
        self._pending = np.zeros(0, np.int16)

    @property
    def end(self) -> int:
        """Returns the sample behind the last one."""
        return self._from + len(self._pending)

    def add(self, samples: Int16[np.ndarray, " N"], at: int) -> None:
        """Adds samples that begin at a sample of the talk, or behind those that are there."""
        silence = np.zeros(max(at - self.end, 0), np.int16)
        self._pending = np.concatenate([self._pending, silence, samples])

    def cut(self, at: int) -> None:
        """Forgets what lies behind a sample of the talk."""
        self._pending = self._pending[: max(at - self._from, 0)]

    def take(self, until: int) -> Int16[np.ndarray, " N"]:
        """Returns what lies before a sample of the talk and was not taken yet, with silence behind its end."""
        size = max(until - self._from, 0)
        taken, self._pending = self._pending[:size], self._pending[size:]
        self._from += size
        return np.pad(taken, (0, size - len(taken)))
