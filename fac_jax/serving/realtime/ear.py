"""The audio of a user: the input audio buffer, the turns that a detector finds in it, and what the engine hears.

Positions are samples at the engine's rate, counted from the first that was ever appended.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import numpy as np
from jaxtyping import Float32

from fac_jax.serving.detect.base import TurnDetector, TurnEvent, TurnSettings
from fac_jax.serving.realtime.settings import G711, Pcm
from fac_jax.serving.realtime.sound import ForDetector, Resampler, rate_of
from fac_jax.serving.talk import Listening

KEPT_S: Final = 20.0  # of audio between turns, which a commit by hand takes
PIECE_S: Final = 0.2  # of audio that is resampled at once, if nobody needs it before


class Ear:
    """What a session hears.

    Without a detector the caller begins a turn with the first audio. With one, turns begin and end as the detector
    says; between turns the last seconds are kept.

    Attributes:
      seconds: of all audio that was ever appended.
    """

    def __init__(
        self,
        listen: Callable[[], Listening],
        rate: int,
        detector: Callable[[TurnSettings], TurnDetector],
        form: Pcm | G711,
        turns: TurnSettings | None,
    ) -> None:
        """Begins to hear.

        Args:
          listen: begins a turn in the engine.
          rate: that the engine hears, in Hz.
          detector: makes a detector.
          form: of the audio that comes.
          turns: of the detector; None for no detector.
        """
        self._listen, self._rate, self._make = listen, rate, detector
        self._form, self._turns = form, turns
        self._resampler = Resampler(rate_of(form), rate)
        self._came: list[Float32[np.ndarray, " N"]] = []  # pieces that are not resampled yet
        self._came_s = 0.0
        self._ring: deque[tuple[int, Float32[np.ndarray, " N"]]] = deque()  # pieces, each with its position
        self._end = 0  # position behind all audio
        self._free = 0  # position from which no turn has taken audio
        self._listening: Listening | None = None  # of the open turn
        self._turn_from = self._fed = 0  # position of its first sample, and up to which it has the audio
        self._detecting: TurnSettings | None = None  # of the detector
        self._detector: TurnDetector | None = None
        self._detector_from = 0  # ms of all audio before it
        self._for_detector = ForDetector(rate_of(form))
        self.seconds = 0.0
        self._new_detector()

    @property
    def turn(self) -> bool:
        """Returns whether a turn is open."""
        return self._listening is not None

    @property
    def detects(self) -> bool:
        """Returns whether a detector finds the turns."""
        return self._detector is not None

    @property
    def probability(self) -> float:
        """Returns how likely the user speaks."""
        return self._detector.probability if self._detector is not None else 0.0

    @property
    def ms(self) -> int:
        """Returns the milliseconds of all audio that was ever appended."""
        return round(self.seconds * 1000)

    @property
    def buffered_s(self) -> float:
        """Returns the seconds of audio in the buffer; what the resampler holds back is not counted."""
        return (self._end - self._begin) / self._rate + self._came_s

    @property
    def _begin(self) -> int:
        """Returns the position at which the buffer begins."""
        if self.turn or not self._ring:
            return self._turn_from if self.turn else self._end
        return max(self._ring[0][0], self._free)

    def configure(self, form: Pcm | G711, turns: TurnSettings | None) -> None:
        """Changes the format, or how turns are found.

        Without a detector from now on, an open turn goes on until the caller ends it. With a new detector in place of
        another one, it is ended by the old one; with the first, its audio is as if it lay between turns.
        """
        if form != self._form:
            self.flush()
            self._form = form
            self._resampler, self._for_detector = Resampler(rate_of(form), self._rate), ForDetector(rate_of(form))
        self._turns = turns
        if self._listening is not None and turns is not None:
            if self.detects:
                return
            self._listening.drop()
            self._listening = None
        self._new_detector()

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes audio at the format's rate; `turns` follows."""
        seconds = len(samples) / rate_of(self._form)
        self.seconds += seconds
        self._came.append(samples)
        self._came_s += seconds
        if self._came_s >= PIECE_S:
            self._resample()
        if self._detector is not None:
            self._detector.take(self._for_detector.push(samples))

    def turns(self, model_heard: bool) -> list[TurnEvent]:
        """Returns what the detector says to the audio that was taken, in ms of all audio.

        The caller follows the events in order by `begin` and `end`, and then calls `feed`.
        """
        if self._detector is None:
            return []
        events = self._detector.push(np.zeros(0, np.float32), model_heard)
        return [type(event)(event.ms + self._detector_from) for event in events]

    def flush(self) -> None:
        """Takes what the resampler holds back; the audio after it begins anew."""
        self._resample()
        self._take(self._resampler.push(np.zeros(0, np.float32), last=True))
        self._resampler = Resampler(rate_of(self._form), self._rate)

    def begin(self, ms: int | None = None) -> None:
        """Begins a turn: at a time of all audio, or with all that is in the buffer."""
        self._resample()
        self._turn_from = self._fed = self._begin if ms is None else max(self._position(ms), self._begin)
        self._listening = self._listen()

    def feed(self) -> None:
        """Hands the audio of the open turn on, and forgets what is too old to be of any turn."""
        if self._listening is not None:
            self._feed(self._listening, self._end)
        self._forget(self._end - round(KEPT_S * self._rate))

    def end(self, ms: int | None = None) -> Listening:
        """Ends the open turn, and returns its audio.

        Args:
          ms: time of all audio at which the detector ended it; None for the end of the buffer, by hand.
        """
        assert self._listening is not None
        self._resample()
        if ms is not None and self._position(ms) > self._end:
            self.flush()
        ended, self._listening = self._listening, None
        end = self._end if ms is None else min(max(self._position(ms), self._fed), self._end)
        self._feed(ended, end)
        self._leave(end, by_hand=ms is None)
        return ended

    def clear(self) -> None:
        """Forgets the buffer and the open turn."""
        self.flush()
        if self._listening is not None:
            self._listening.drop()
            self._listening = None
        self._leave(self._end, by_hand=True)

    def _leave(self, end: int, by_hand: bool) -> None:
        """Begins a new buffer at a position."""
        self._free = end
        self._forget(end)
        if self._turns != self._detecting:
            self._new_detector()
        elif self._detector is not None and by_hand:
            self._detector.reset()

    def _position(self, ms: int) -> int:
        return ms * self._rate // 1000

    def _resample(self) -> None:
        if self._came:
            self._take(self._resampler.push(np.concatenate(self._came)))
            self._came, self._came_s = [], 0.0

    def _take(self, heard: Float32[np.ndarray, " N"]) -> None:
        if len(heard):
            self._ring.append((self._end, heard))
            self._end += len(heard)

    def _feed(self, listening: Listening, end: int) -> None:
        pieces = []
        for at, piece in reversed(self._ring):  # what was fed lies at the beginning, and may be long
            if at + len(piece) <= self._fed:
                break
            pieces.append(piece[max(self._fed - at, 0) : max(end - at, 0)])
        samples = np.concatenate([np.zeros(0, np.float32), *reversed(pieces)])
        if len(samples):
            listening.push(samples)
        self._fed = max(end, self._fed)

    def _forget(self, before: int) -> None:
        while self._ring and self._ring[0][0] + len(self._ring[0][1]) <= before:
            self._ring.popleft()

    def _new_detector(self) -> None:
        """Begins to detect turns from here on, if that is wanted and not done already."""
        if self._turns == self._detecting:
            return
        self._detecting = self._turns
        self._detector = None if self._turns is None else self._make(self._turns)
        self._detector_from = self.ms
