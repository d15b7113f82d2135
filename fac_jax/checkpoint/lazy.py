"""Parameters that are read when they are asked for, for models that do not fit into memory as they are stored."""

from collections.abc import Callable
from typing import Any

import numpy as np
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint.arrays import StoredArray, readable
from fac_jax.checkpoint.export import load_params, resolve
from fac_jax.checkpoint.store import adapter_base, check_shapes, parameter_folders, stored
from fac_jax.types import Params


class Lazy:
    """A parameter that is read whole by `np.asarray`, and for one layer by its index."""

    def __init__(self, read: Callable[[tuple[int, ...]], np.ndarray]) -> None:
        """`read` gives what is at an index of the leading axes."""
        self._read = read

    def __getitem__(self, layer: int) -> np.ndarray:
        return self._read((layer,))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self._read(()).astype(dtype, copy=False) if dtype is not None else self._read(())


def lazy_params(path: epath.PathLike, shapes: Params) -> Params:
    """Parameters of what `path` names (`export.resolve`), each leaf a `Lazy`; those of an adapter are read and merged.

    Args:
      shapes: abstract parameters of the model, compared with those found.

    Raises:
      InputError: nothing is there, or the parameters have other names or shapes; a damaged array, when it is read.
    """
    found = resolve(path)
    if adapter_base(found) is not None:
        return load_params(found, shapes)[0]
    leaves: dict[tuple[str, ...], Any] = {}
    lazy: dict[tuple[str, ...], Lazy] = {}
    for folder in parameter_folders(found):
        with readable(folder):
            there = traverse_util.flatten_dict(stored(folder))
        leaves |= there
        lazy |= {key: Lazy(_by_layer(StoredArray(folder, key))) for key in there}
    check_shapes(traverse_util.unflatten_dict(leaves), shapes, found)
    return traverse_util.unflatten_dict(lazy)


def _by_layer(array: StoredArray) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Reads a stored array. One whose layers share a chunk on disk is read once, and kept until its last layer."""
    kept: list[np.ndarray] = []

    def read(index: tuple[int, ...]) -> np.ndarray:
        if not index or array.apart:
            return array.read(index)
        if not kept:
            kept.append(array.read(()))
        layer = kept[0][index]
        if index[0] == len(kept[0]) - 1:
            kept.clear()
        return layer

    return read
