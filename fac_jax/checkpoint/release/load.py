"""A checkpoint in the released layout as parameters and a configuration."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fac_jax.checkpoint.lazy import Lazy
from fac_jax.checkpoint.release.config import computed_dtype, load_release_config
from fac_jax.checkpoint.release.names import RELEASE, Entry, relaid
from fac_jax.checkpoint.release.params import check_tied, match, one_dtype
from fac_jax.checkpoint.release.tensors import INDEX, SINGLE, TensorFolder
from fac_jax.models.config import ModelConfig, replace
from fac_jax.types import Params


def is_release(folder: Path) -> bool:
    """Returns whether a folder is a checkpoint in the released layout: safetensors, whole or in shards."""
    return (folder / SINGLE).exists() or (folder / INDEX).exists()


def load_release(folder: Path) -> tuple[Params, ModelConfig]:
    """Returns the parameters, each a `Lazy`, and the configuration of a checkpoint in the released layout.

    Parameters have the dtype in which the model computes: that of the tensors, or the one that config.json names.

    Raises:
      InputError: a file is missing or damaged, or the tensors are not those of its config.json.
    """
    config, tensors = load_release_config(folder), TensorFolder(folder)
    stored = one_dtype(tensors, RELEASE)
    dtype = computed_dtype(folder) or stored
    entries = match(tensors.shapes, RELEASE, config)
    check_tied(tensors, RELEASE, config)

    def lazy(entry: Entry) -> Lazy:
        def read(index: tuple[int, ...]) -> np.ndarray:
            names = np.asarray(entry.names[index])
            pieces = [relaid(tensors[name], entry.layout) for name in names.ravel().tolist()]
            return np.stack(pieces).reshape(*names.shape, *pieces[0].shape).astype(jnp.dtype(dtype), copy=False)

        return Lazy(read)

    params = traverse_util.unflatten_dict({entry.path: lazy(entry) for entry in entries})
    return params, replace(config, dtype=dtype, param_dtype=dtype)
