"""A model and an adapter merged into a model folder of ours, a layer at a time."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint import export
from fac_jax.checkpoint.adapters.adapter import Adapter
from fac_jax.checkpoint.adapters.base import base_digest, layers_of
from fac_jax.checkpoint.adapters.load import find_adapter, read_adapter
from fac_jax.checkpoint.adapters.names import shapes_in
from fac_jax.checkpoint.json_files import read_json, write_json
from fac_jax.checkpoint.opened import find_model, open_model
from fac_jax.checkpoint.release.convert import Wrap, at_destination, fill_params, fingerprint
from fac_jax.checkpoint.release.load import is_release
from fac_jax.checkpoint.release.names import Entry, tied_heads
from fac_jax.checkpoint.release.params import Read
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.layers.param import SEP
from fac_jax.models.config import ModelConfig
from fac_jax.models.lora import kernels, leaf_paths, merged
from fac_jax.types import Params


def merge_adapter(
    path: epath.PathLike, base: Path, destination: Path, any_base: bool = False, wrap: Wrap = iter
) -> tuple[Adapter, ModelConfig]:
    """Writes the model that an adapter makes of its base: kernels `W + scale * A @ B`, and what it saves in full.

    The sum is float32 and is rounded once to the dtype of the base, which is that of the model.

    Args:
      path: of the adapter (`load.find_adapter`).
      base: folder in the release's layout, or a model of ours (`find_model`).
      destination: must not exist; a model folder of ours.
      any_base: whether the adapter may have been made for a base with other values.
      wrap: of the pieces while they are written, for a progress bar.

    Raises:
      InputError: see `load.read_adapter`; or the base is missing, or another one, or the disk is full.
    """
    folder, released = Path(find_model(base)), is_release(base)
    job = {"merge_adapter": [fingerprint(Path(find_adapter(path))), fingerprint(folder)]}
    with at_destination(destination, job) as unfinished:
        params, config = open_model(folder)
        adapter = read_adapter(path, config, functools.partial(base_digest, params, config), any_base)
        fill_params(unfinished, config, list(_entries(params, config, adapter)), wrap)
        origin = {"merge_adapter": [str(path), str(base)], "order": 0}
        if released:
            tensors = TensorFolder(folder)
            tied = [name for name, _ in tied_heads(config) if name in tensors]
            write_json(unfinished / export.RELEASE, {"config": read_json(folder / "config.json"), "tied_names": tied})
        export.finish(unfinished, config, origin, export.assets(folder) if released else export.trained_assets(folder))
    return adapter, config


def _entries(params: Params, config: ModelConfig, adapter: Adapter) -> Iterator[tuple[Entry, Read]]:
    """Yields every parameter, a layer of a stack at a time, and what reads it: a place is "", or the layer's number."""
    base: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    leaves: dict[str, Any] = traverse_util.flatten_dict(adapter.leaves, sep=SEP)
    modules = {kernel: module for module, kernel in kernels(base).items() if leaf_paths(module)[0] in leaves}

    def reader(path: str) -> Read:
        def read(place: str) -> np.ndarray:
            index = (int(place),) if place else ()
            piece = np.array(base[path][index[0]] if index else base[path])
            if path in modules:
                a, b, scale = (np.asarray(leaves[leaf])[index] for leaf in leaf_paths(modules[path]))
                return np.asarray(merged(piece, a, b, scale))
            for at, value in adapter.saved.get(path, {}).items():
                if not at:
                    piece[...] = value[index]
                elif at[:1] == index:
                    piece[at[1:]] = value
            return piece

        return read

    for path, shape in shapes_in(config).items():
        layers = layers_of(path, shape)
        places = [str(layer) for layer in range(layers)] if layers else ""
        yield Entry(path, np.array(places), "same"), reader(SEP.join(path))
