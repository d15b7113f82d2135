"""The blocks of one client on their way to the ticks of a call pool, whose clock is not the client's."""

from collections import deque
from typing import Final

import numpy as np
from jaxtyping import Float32

from fac_jax.duplex.call import SLOT, SLOT_SECONDS

JITTER_S: Final = 0.06  # that a call's first block waits, so that later ones may come so much too late
SILENT_S: Final = 2.0  # without audio after which a call is paused
MOST: Final = 3  # blocks that may wait

Block = Float32[np.ndarray, " 3200"]


class Line:
    """Blocks that wait. Time does not stop for a client: what is not there at a tick is silence, and dropped later.

    A block that comes just after its tick is kept. It is heard in the next one, and all that follow are a slot later
    too: a client whose clock is a little slower than the server's would come too late from then on.

    Attributes:
      late: ticks for which no block was there.
    """

    def __init__(self) -> None:
        self.late = 0
        self._waiting: deque[Block | None] = deque()
        self._owed = 0  # blocks that were replaced by silence before they came
        self._missed_at = 0.0  # time of the last tick that found no block; of no meaning before the first
        self._silent = 0  # slots without audio in a row
        self._from: float | None = None  # when the blocks may be taken; None while the call is paused

    def push(self, block: Block | None, now: float) -> None:
        """Takes the next slot of the client, None if it did not send it in time."""
        if self._from is None:
            if block is None:
                return
            self._waiting.clear()
            self._owed, self._silent, self._from = 0, 0, now + JITTER_S
        if self._owed:
            self._owed -= 1
            if self._owed or now > self._missed_at + JITTER_S:
                return
        if len(self._waiting) == MOST:  # the client's clock is faster
            self._waiting.popleft()
        self._waiting.append(block)

    def take(self, now: float) -> Block | None:
        """Returns what is heard in a tick; None if the call does not run in it."""
        if self._from is None or now < self._from:
            return None
        block = self._waiting.popleft() if self._waiting else self._missing(now)
        if block is not None:
            self._silent = 0
            return block
        self._silent += 1
        if self._silent * SLOT_SECONDS > SILENT_S:
            self._from = None
            return None
        return np.zeros(SLOT, np.float32)

    def _missing(self, now: float) -> None:
        self.late += 1
        self._missed_at = now
        self._owed += 1
