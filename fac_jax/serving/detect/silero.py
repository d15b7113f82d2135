"""Silero's network of voice activity, version 5 or 6, in onnxruntime: many streams in one call.

The weights are a file of the distribution `silero-vad` (MIT). Nothing of it is imported, since its modules need torch;
`pip install --no-deps silero-vad` is enough.
"""

import importlib
import importlib.metadata
import os
import threading
from collections import deque
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

    def __init__(self, together: "Together") -> None:
        """Begins a stream; the network hears it together with others."""
        self._together = together
        self._came: deque[Float32[np.ndarray, " N"]] = deque()  # pieces that the network has not begun to hear
        self._taken = self._heard = 0  # pieces
        self._frames = Frames(CONTEXT)
        self._found: deque[float] = deque()  # probabilities that `push` has not given
        self._state = np.zeros((2, WIDTH), np.float32)

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """See `SpeechDetector`."""
        self._taken += 1
        self._came.append(samples)
        self._together.wait(self)

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " F"]:
        """Takes samples at 16 kHz and returns the probability of every frame that is full."""
        if len(samples):
            self.take(samples)
        if self._heard < self._taken:
            self._together.hear()
        return np.array([self._found.popleft() for _ in range(len(self._found))], np.float32)


class Together:
    """The streams of one network, which hears what all of them have taken; any thread may let it.

    The first frames of all streams are one call of the network, the second ones another, and so on. The probabilities
    of a stream do not depend on the others, but for rounding.
    """

    def __init__(self, network: Network) -> None:
        """Begins without streams."""
        self._network = network
        self._waiting: deque[Silero] = deque()
        self._hearing = threading.Lock()

    def wait(self, stream: Silero) -> None:
        """Notes that a stream has taken samples."""
        self._waiting.append(stream)

    def hear(self) -> None:
        """Hears what all streams have taken."""
        with self._hearing:
            waiting = dict.fromkeys(self._waiting.popleft() for _ in range(len(self._waiting)))
            came = {stream: [stream._came.popleft() for _ in range(len(stream._came))] for stream in waiting}
            frames = {stream: stream._frames.push(np.concatenate(pieces)) for stream, pieces in came.items() if pieces}
            for number in range(max(map(len, frames.values()), default=0)):
                rows = [stream for stream, full in frames.items() if number < len(full)]
                state = np.stack([stream._state for stream in rows], axis=1)
                probability, state = self._network(np.stack([frames[stream][number] for stream in rows]), state)
                for place, stream in enumerate(rows):
                    stream._state = state[:, place]
                    stream._found.append(float(probability[place]))
            for stream, pieces in came.items():
                stream._heard += len(pieces)
