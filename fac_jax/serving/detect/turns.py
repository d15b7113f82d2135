"""Finds a user's turns in the speech probabilities of a stream."""

import math
from collections import deque
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import numpy as np
from jaxtyping import Float32

from fac_jax.serving.detect.base import RATE, SpeechDetector, Started, Stopped, TurnEvent, TurnSettings

Eagerness: TypeAlias = Literal["low", "medium", "high", "auto"]

WINDOW = 4  # frames
SPOKEN = 3  # of them that are speech where speech begins
SHORTEST_MS = 160  # speech that is no turn yet
GUARD_MS = 200  # more speech that a turn needs while the model is heard
HYSTERESIS = 0.15  # silence lies so far below the threshold
LEAST_SILENCE = 0.01  # probability below which a frame is silence at any threshold
MOST_GUARDED = 0.95  # threshold that the guard does not exceed: with more, nobody could interrupt

SILENCE_MS: Final[dict[Eagerness, int]] = {"low": 900, "medium": 600, "auto": 600, "high": 300}


def semantic_settings(eagerness: Eagerness) -> TurnSettings:
    """Returns the settings of turn detection `semantic_vad`: how long a silence ends a turn, by the eagerness."""
    return TurnSettings(silence_duration_ms=SILENCE_MS[eagerness])


class Turns:
    """The turns of one stream.

    Speech begins where 3 of 4 frames lie above the threshold, and goes on as long as this holds of the last 4. After
    160 ms of it a turn has begun, which is told then; shorter speech is nothing. While the model is heard, the
    threshold is higher by the guard and 200 ms more are needed, against the model's echo. A turn ends after a silence,
    of frames 0.15 below the threshold without a break. Its audio reaches from the padding before its first frame of
    speech, but not back into the turn before it, to the end of that silence.
    """

    def __init__(self, detector: SpeechDetector, settings: TurnSettings) -> None:
        self._detector = detector
        self._settings = settings
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._frames = 0  # that have been heard
        self._samples = 0
        self._onset: int | None = None  # number of the frame where the speech that is heard now begins
        self._talking = False
        self._silent = 0  # frames
        self._free_ms = 0.0  # audio before it belongs to an earlier turn
        self._probability = 0.0

    @property
    def probability(self) -> float:
        """Returns how likely speech is in the last full frame; 0 before the first."""
        return self._probability

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """See `TurnDetector`."""
        self._samples += len(samples)
        self._detector.take(samples)

    def push(self, samples: Float32[np.ndarray, " N"], model_heard: bool = False) -> list[TurnEvent]:
        """Takes samples at 16 kHz and returns what has happened; `model_heard` says that a reply is being played."""
        self._samples += len(samples)
        return self.follow(self._detector.push(samples).tolist(), model_heard)

    def follow(self, probabilities: Iterable[float], model_heard: bool = False) -> list[TurnEvent]:
        """Takes the probabilities of the next frames and returns what has happened."""
        events = (self._frame(probability, model_heard) for probability in probabilities)
        return [event for event in events if event is not None]

    def reset(self) -> None:
        """Forgets a turn that has begun; the audio so far belongs to no later turn."""
        self._quit(self._samples * 1000 / RATE)

    def _quit(self, ms: float) -> None:
        self._free_ms = ms
        self._talking = False
        self._onset = None
        self._window.clear()

    def _frame(self, probability: float, model_heard: bool) -> TurnEvent | None:
        self._frames += 1
        self._probability = probability
        threshold = self._settings.threshold
        if model_heard:
            threshold = max(threshold, min(threshold + self._settings.guard, MOST_GUARDED))
        if self._talking:
            return self._silence(probability < max(threshold - HYSTERESIS, LEAST_SILENCE))
        return self._speech(probability > threshold, SHORTEST_MS + GUARD_MS * model_heard)

    def _speech(self, spoken: bool, needed_ms: int) -> Started | None:
        self._window.append(spoken)
        if sum(self._window) < SPOKEN:
            self._onset = None
            return None
        if self._onset is None:
            self._onset = self._frames - len(self._window) + self._window.index(True)
        if not spoken or self._ms(self._frames - self._onset) < needed_ms:
            return None
        self._talking = True
        self._silent = 0
        padded = self._ms(self._onset) - self._settings.prefix_padding_ms
        return Started(math.ceil(max(padded, self._free_ms)))

    def _silence(self, silent: bool) -> Stopped | None:
        self._silent = self._silent + 1 if silent else 0
        if not silent or self._ms(self._silent) < self._settings.silence_duration_ms:
            return None
        end = self._ms(self._frames)
        self._quit(end)
        return Stopped(int(end))

    def _ms(self, frames: int) -> float:
        return frames * self._detector.frame * 1000 / RATE
