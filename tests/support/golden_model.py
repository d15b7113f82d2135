"""The recorded tiny runs of the released model (tests/golden/model), loaded once a process."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from fac_jax.checkpoint.release.config import load_release_config
from fac_jax.checkpoint.release.params import from_release
from fac_jax.models.config import ModelConfig
from fac_jax.types import Params

FOLDER = Path(__file__).parents[1] / "golden" / "model"
CASES = ("dense", "moe", "moe_aux", "moe_mixed")


@dataclasses.dataclass(frozen=True)
class Golden:
    """One recorded case: arrays and released tensors by their full names, and the configuration."""

    arrays: dict[str, np.ndarray]
    config: ModelConfig
    tensors: dict[str, np.ndarray]

    @functools.cached_property
    def params(self) -> Params:
        """Our parameters; who asks for the configuration alone waits for no shape."""
        return from_release(self.tensors, self.config)


@functools.cache
def golden(case: str) -> Golden:
    """Loads a recorded case."""
    folder = FOLDER / case
    config = load_release_config(folder)
    tensors = load_file(folder / "model.safetensors")
    with np.load(folder / "io.npz") as arrays:
        loaded: dict[str, Any] = {name: arrays[name] for name in arrays.files}
    return Golden(loaded, config, tensors)
