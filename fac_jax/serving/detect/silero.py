"""Silero's network of voice activity, version 5 or 6, in onnxruntime: many streams in one call.

The weights are a file of the distribution `silero-vad` (MIT). Nothing of it is imported, since its modules need torch;
`pip install --no-deps silero-vad` is enough.
"""

import importlib
import importlib.metadata
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from fac_jax.serving.detect.base import RATE
from fac_jax.serving.detect.frames import FRAME, Frames
from fac_jax.types import InputError

CONTEXT = 64  # samples before a frame that the network hears again
WIDTH = 128  # of the two parts of its LSTM's state
DISTRIBUTION: Final = "silero-vad"
FILE: Final = "silero_vad/data/silero_vad.onnx"


def installed_network() -> Path | None:
    """Returns the ONNX file of the installed distribution `silero-vad`; None if that is not installed."""
    try:
        path = Path(str(importlib.metadata.distribution(DISTRIBUTION).locate_file(FILE)))
    except importlib.metadata.PackageNotFoundError:
        return None
    return path if path.is_file() else None


class Network:
    """The network, shared by all streams. One thread; a call computes in the thread that makes it.

    Raises:
      InputError: onnxruntime is not installed, there is no such file, or it is not Silero's network.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            onnxruntime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise InputError("the detector silero needs onnxruntime: pip install 'fac_jax[serve]'") from error
        if not Path(path).is_file():
            raise InputError(f"there is no file {path}; the network is {FILE} of the distribution {DISTRIBUTION}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            inputs = {one.name for one in self._session.get_inputs()}
            self._rate = {"sr": np.array(RATE, np.int64)} if "sr" in inputs else {}
            self(np.zeros((1, CONTEXT + FRAME), np.float32), np.zeros((2, 1, WIDTH), np.float32))
        except Exception as error:  # onnxruntime's errors share no class of their own
            cause = " ".join(str(error).split())[:200]
            raise InputError(f"{path} is not the network of Silero, version 5 or 6 ({cause})") from error

    def __call__(
        self, frames: Float32[np.ndarray, "B width"], state: Float32[np.ndarray, "2 B {WIDTH}"]
    ) -> tuple[Float32[np.ndarray, " B"], Float32[np.ndarray, "2 B {WIDTH}"]]:
        """Returns the speech probability of a frame of every stream, and the states after it.

        Args:
          frames: 64 samples of context and the 512 of the frame.
          state: zero at the beginning of a stream.
        """
        found: Any = self._session.run(None, {"input": frames, "state": state, **self._rate})
        probability, state = found
        return probability[:, 0], state


class Silero:
    """The detector of one stream."""

    frame = FRAME

    def __init__(self, network: Network) -> None:
        self._network = network
        self._frames = Frames(CONTEXT)
        self._state = np.zeros((2, WIDTH), np.float32)

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " F"]:
        """Takes samples at 16 kHz and returns the probability of every frame that is full."""
        return push_together([self], [samples])[0]


def push_together(
    streams: Sequence[Silero], samples: Sequence[Float32[np.ndarray, " _"]]
) -> list[Float32[np.ndarray, " _"]]:
    """Pushes samples to several streams of one network, and returns the probabilities of each stream's frames.

    The first frames of all streams are one call of the network, the second ones another, and so on. The result of a
    stream does not depend on the others, but for rounding.
    """
    frames = [stream._frames.push(new) for stream, new in zip(streams, samples, strict=True)]
    found = [np.empty(len(full), np.float32) for full in frames]
    for number in range(max(map(len, frames), default=0)):
        rows = [row for row, full in enumerate(frames) if number < len(full)]
        state = np.stack([streams[row]._state for row in rows], axis=1)
        network = streams[rows[0]]._network
        probability, state = network(np.stack([frames[row][number] for row in rows]), state)
        for place, row in enumerate(rows):
            found[row][number] = probability[place]
            streams[row]._state = state[:, place]
    return found
