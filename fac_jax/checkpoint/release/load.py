"""A checkpoint in the released layout as parameters and a configuration."""

from pathlib import Path

from fac_jax.checkpoint.release.config import load_release_config
from fac_jax.checkpoint.release.names import RELEASE
from fac_jax.checkpoint.release.params import from_release, one_dtype
from fac_jax.checkpoint.release.tensors import INDEX, SINGLE, TensorFolder
from fac_jax.models.config import ModelConfig, replace
from fac_jax.types import Params


def is_release(folder: Path) -> bool:
    """Returns whether a folder is a checkpoint in the released layout: safetensors, whole or in shards."""
    return (folder / SINGLE).exists() or (folder / INDEX).exists()


def load_release(folder: Path) -> tuple[Params, ModelConfig]:
    """Returns the parameters and the configuration of a checkpoint in the released layout, in its own dtype.

    Raises:
      InputError: a file is missing or damaged, or the tensors are not those of its config.json.
    """
    config, tensors = load_release_config(folder), TensorFolder(folder)
    dtype = one_dtype(tensors, RELEASE)
    return from_release(tensors, config), replace(config, dtype=dtype, param_dtype=dtype)
