"""A model on disk, of ours or in the released layout, whose parameters are read when they are asked for."""

from pathlib import Path

from etils import epath

from fac_jax.checkpoint.export import load_config, load_params, resolve
from fac_jax.checkpoint.lazy import lazy_params
from fac_jax.checkpoint.release.load import is_release, load_release
from fac_jax.io import is_local
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_shapes
from fac_jax.types import Params


def find_model(path: epath.PathLike) -> epath.Path:
    """Returns the folder of the model that a path names: one in the released layout, or as `export.resolve`.

    Raises:
      InputError: nothing is there.
    """
    return epath.Path(path) if is_release(Path(path)) else resolve(path)


def open_model(path: epath.PathLike) -> tuple[Params, ModelConfig]:
    """Returns the parameters and the configuration of the model that a path names (`find_model`).

    Each parameter is a `Lazy`; those in a cloud store are read at once.

    Raises:
      InputError: nothing is there, a file is damaged, or the parameters are not those of the configuration.
    """
    folder = find_model(path)
    if is_release(Path(folder)):
        return load_release(Path(folder))
    config = load_config(folder)
    shapes = init_shapes(config)
    return (lazy_params(folder, shapes) if is_local(folder) else load_params(folder, shapes)[0]), config
