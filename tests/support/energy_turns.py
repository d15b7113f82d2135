"""A turn detector for tests: whatever is loud is speech, from its first 20 ms on."""

import numpy as np

from fac_jax.serving.detect.base import RATE, Started, Stopped, TurnEvent, TurnSettings

FRAME_MS = 20
LOUD = 0.01  # RMS


class EnergyTurns:
    """Begins a turn with the first loud frame, and ends it after the silence of the settings, less two frames."""

    def __init__(self, settings: TurnSettings) -> None:
        self.settings = settings
        self.probability = 0.0
        self.heard: list[bool] = []  # `model_heard` of every push
        self._waiting = np.zeros(0, np.float32)
        self._ms = self._free_ms = 0
        self._quiet_ms: int | None = None  # since the last loud frame of a turn; None between turns

    def take(self, samples: np.ndarray) -> None:
        self._waiting = np.concatenate([self._waiting, samples])

    def push(self, samples: np.ndarray, model_heard: bool = False) -> list[TurnEvent]:
        self.heard.append(model_heard)
        self.take(samples)
        size, events = RATE * FRAME_MS // 1000, []
        while len(self._waiting) >= size:
            frame, self._waiting = self._waiting[:size], self._waiting[size:]
            events += self._frame(float(np.sqrt(np.mean(frame**2))) > LOUD)
        return events

    def reset(self) -> None:
        self._quiet_ms, self._free_ms = None, self._ms

    def _frame(self, loud: bool) -> list[TurnEvent]:
        self.probability = float(loud)
        begin, self._ms = self._ms, self._ms + FRAME_MS
        if self._quiet_ms is None:
            if not loud:
                return []
            self._quiet_ms = 0
            return [Started(max(begin - self.settings.prefix_padding_ms, self._free_ms))]
        self._quiet_ms = 0 if loud else self._quiet_ms + FRAME_MS
        if self._quiet_ms < self.settings.silence_duration_ms - 2 * FRAME_MS:
            return []
        self.reset()
        return [Stopped(self._ms)]
