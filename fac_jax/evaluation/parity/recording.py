"""Reads recorded runs of parts of the voice, and measures differences to them."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.checkpoint.voice.release import from_torch
from fac_jax.evaluation.parity.model import Figure, Recorded, check_shape
from fac_jax.types import Array, InputError, Params

LIMIT: Final = 1e-4  # limit of quantities with a scale of about 1


@dataclasses.dataclass(frozen=True)
class Recording:
    """One recorded folder: its path, the content of its config.json, and the arrays of its io.npz."""

    folder: Path
    values: Section
    arrays: Recorded

    def params(self, part: str, config: Any) -> Params:
        """Reads the parameters of a model of the voice from its recorded weights.

        Raises:
          InputError: the weights are missing, damaged or those of another model.
        """
        file = self.folder / "weights.safetensors"
        try:
            tensors = load_file(file)
        except FileNotFoundError:
            raise InputError(f"{file}: no such file") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} is truncated or no safetensors file ({error})") from error
        try:
            return from_torch(part, tensors, config)
        except InputError as error:
            raise InputError(f"{file}: {error}") from error

    def noted(self, key: str, pattern: str) -> tuple[str, ...]:
        """Returns the groups of a pattern in a note of config.json, which documents how inputs were drawn.

        Raises:
          InputError: the note does not match the pattern.
        """
        found = re.search(pattern, str(self.values.values.get(key, "")))
        if found is None:
            raise InputError(f"{self.values.where}: {key} does not say how it was drawn ({pattern})")
        return found.groups()


def read_recording(folder: Path) -> Recording:
    """Reads a recorded folder without its weights.

    Raises:
      InputError: a file is missing or damaged.
    """
    file = folder / "io.npz"
    values = Section(read_json(folder / "config.json"), str(folder / "config.json"))
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        with zipfile.ZipFile(file), np.load(file) as arrays:
            return Recording(folder, values, Recorded(arrays))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{file}: no recorded arrays (.npz), or truncated: {error}") from None


def difference(name: str, ours: Array, theirs: np.ndarray, limit: float = LIMIT) -> Figure:
    """Measures the largest absolute difference of two arrays of the same shape."""
    check_shape(name, ours, theirs)
    return Figure(f"{name}, max abs diff", float(np.max(np.abs(np.asarray(ours, np.float64) - theirs))), limit)


def layer(name: str, ours: Array, theirs: np.ndarray) -> Figure:
    """Measures as `difference` does, for a layer inside a model: the limit grows with the scale of the recording."""
    return difference(name, ours, theirs, LIMIT * max(1.0, float(np.max(np.abs(theirs)))))


def unequal(name: str, ours: Array, theirs: np.ndarray) -> Figure:
    """Counts the ids that differ; the limit is 0."""
    check_shape(name, ours, theirs)
    return Figure(f"{name}, that differ", float(np.sum(np.asarray(ours) != theirs)), 0)


def channels_last(array: np.ndarray) -> np.ndarray:
    """Swaps the last two axes: `[.., C, T]` becomes `[.., T, C]`, and the reverse."""
    return np.swapaxes(array, -1, -2)


def inside(apply: Callable[..., Any], variables: Any, *inputs: Any, **options: Any) -> dict[str, Array]:
    """Returns the outputs of all modules of a model, which `apply` runs on the inputs, by their dotted paths.

    The first axis of scanned layers is the layer.
    """

    def run(variables: Any, *inputs: Any) -> Any:
        return apply(variables, *inputs, capture_intermediates=True, mutable=["intermediates"], **options)[1]

    found: dict[str, Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(run)(variables, *inputs)["intermediates"]):
        parts = [str(getattr(key, "key", getattr(key, "idx", key))) for key in path]
        at = parts.index("__call__") if "__call__" in parts else len(parts)
        found.setdefault(".".join(parts[:at]), leaf)  # the first output of a module with several
    return found
