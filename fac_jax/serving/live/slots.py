"""The clock of a live session: it cuts the client's audio into slots, and says when each of them is heard."""

import dataclasses

import numpy as np
from jaxtyping import Float32


@dataclasses.dataclass(frozen=True)
class Pace:
    """Times of a live session, in seconds.

    Attributes:
      slot_s: of a slot.
      late_s: without audio after which silence is heard in its place.
      early_s: that a slot may be heard before it is due, so that audio which comes unevenly does not wait.
      ahead_s: audio that may wait; older audio is dropped.
      usage_s: of talk between two accounts of it.
    """

    slot_s: float = 0.2
    late_s: float = 0.4
    early_s: float = 0.2
    ahead_s: float = 1.0
    usage_s: float = 10.0


class Slots:
    """The slots of one session. Slot n is due n slots after the first one; the first comes when its audio is there.

    Attributes:
      heard: slots that were heard.
      underruns: those of them that were silence because the audio was late.
      dropped_s: seconds of audio that were dropped because they came too early.
    """

    def __init__(self, rate: int, pace: Pace) -> None:
        self._pace, self._rate = pace, rate
        self.size = round(rate * pace.slot_s)  # samples of a slot
        self._waiting = np.zeros(0, np.float32)
        self._due = 0.0  # time of the next slot; of no meaning before the first
        self._last = 0.0  # time of the last audio
        self.heard = self.underruns = 0
        self.dropped_s = 0.0

    def push(self, samples: Float32[np.ndarray, " N"], now: float) -> None:
        """Takes audio of the client; call `take` until it has no more."""
        self._last = now
        self._waiting = np.concatenate([self._waiting, samples])

    def take(self, now: float) -> Float32[np.ndarray, " N"] | None:
        """Returns the next slot if it is to be heard now; drops what is too early if not."""
        if len(self._waiting) >= self.size and (not self.heard or now >= self._due - self._pace.early_s):
            slot, self._waiting = self._waiting[: self.size], self._waiting[self.size :]
        elif self.heard and now >= max(self._due, self._last + self._pace.late_s):
            slot = np.pad(self._waiting, (0, self.size - len(self._waiting)))
            self._waiting = self._waiting[:0]
            self.underruns += 1
        else:
            early = len(self._waiting) - round(self._pace.ahead_s * self._rate)
            if early > 0:
                self._waiting = self._waiting[early:]
                self.dropped_s += early / self._rate
            return None
        # Behind by more than `late_s`, the clock starts anew: nobody wants to hear what was missed.
        start = max(self._due, now - self._pace.late_s) if self.heard else now
        self._due = start + self._pace.slot_s
        self.heard += 1
        return slot

    def wake(self, now: float) -> float:
        """Returns the seconds until `take` may have something without more audio; infinite before the first slot."""
        if not self.heard:
            return float("inf")
        if len(self._waiting) >= self.size:
            return max(0.0, self._due - self._pace.early_s - now)
        return max(0.0, max(self._due, self._last + self._pace.late_s) - now)
