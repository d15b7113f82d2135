"""Cuts a stream of audio, which arrives in pieces of any length, into the frames that a detector takes."""

import numpy as np
from jaxtyping import Float32

FRAME = 512  # samples of a frame, 32 ms at 16 kHz: the only length that Silero's network takes


class Frames:
    """The samples of one stream that fill no frame yet.

    Args:
      context: samples before a frame that are given with it; silence before the first frame.
    """

    def __init__(self, context: int = 0) -> None:
        self._context = context
        self._kept = np.zeros(context, np.float32)

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes samples, whose frames the next `push` returns."""
        self._kept = np.concatenate([self._kept, samples])

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, "F width"]:
        """Takes samples and returns the frames that are full, each behind its context (width = context + FRAME)."""
        self.take(samples)
        heard = self._kept
        width = self._context + FRAME
        full = (len(heard) - self._context) // FRAME
        self._kept = heard[full * FRAME :]
        if not full:
            return np.empty((0, width), np.float32)
        return np.stack([heard[start : start + width] for start in range(0, full * FRAME, FRAME)])
