"""An energy gate: whatever is loud counts as speech. For tests, and where no network is installed."""

import numpy as np
from jaxtyping import Float32

from fac_jax.serving.detect.frames import FRAME, Frames

QUIET_DB = -50.0  # dB of full scale that give a probability of 0
LOUD_DB = -30.0  # and of 1


class Energy:
    """A detector whose probability rises with a frame's RMS, from 0 at -50 dB of full scale to 1 at -30 dB.

    It takes music, noise and a slammed door for speech.
    """

    frame = FRAME

    def __init__(self) -> None:
        self._frames = Frames()

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """See `SpeechDetector`."""
        self._frames.take(samples)

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " F"]:
        """Takes samples at 16 kHz and returns the probability of every frame that is full."""
        power = np.mean(np.square(self._frames.push(samples)), axis=1)
        level = 10 * np.log10(np.maximum(power, 1e-12))
        return np.clip((level - QUIET_DB) / (LOUD_DB - QUIET_DB), 0, 1).astype(np.float32)
