"""A low-rank adapter of a model in memory: leaves next to kernels, and parameters that it replaces in full."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util
from jaxtyping import Float, Int

from fac_jax.layers.linear import LORA_A
from fac_jax.layers.param import SEP
from fac_jax.models.lora import leaf_paths
from fac_jax.types import Array, Params


@dataclasses.dataclass(frozen=True)
class Adapter:
    """An adapter, for the model that it was made for.

    Attributes:
      leaves: nested dict of A, B and scales (`models.lora`), float32. Where ranks differ between the layers of a stack,
        A and B end in zeros; the scale of a layer without an adapter is 0.
      ranks: the rank of every layer, and expert, of a module by the path of the module; 0 for one without an adapter.
      saved: parameters that the adapter replaces, by their paths, piece by piece: each by its index into the stacked
        axes, the whole of one that is not stacked by ().
      rslora: whether alpha stands for scale * sqrt(r) and not for scale * r.
      dropout: of the input of A in PEFT's training; not applied here.
      dtype: of A and B on disk.
      base: what tells the model that it was trained on (`checkpoint.adapters.base`); None if nobody noted it.
    """

    leaves: Params
    ranks: Mapping[str, Int[np.ndarray, "*stack"]]
    saved: Mapping[str, Mapping[tuple[int, ...], np.ndarray]] = dataclasses.field(default_factory=dict)
    rslora: bool = False
    dropout: float = 0.0
    dtype: str = "float32"
    base: str | None = None

    def __str__(self) -> str:
        found = np.concatenate([ranks.ravel() for ranks in self.ranks.values()] or [np.zeros(0, np.int64)])
        used = sorted(set(found[found > 0].tolist()))
        span = f" of rank {' to '.join(str(rank) for rank in dict.fromkeys((used[0], used[-1])))}" if used else ""
        full = f", {len(self.saved)} parameters in full" if self.saved else ""
        return f"adapter of {np.count_nonzero(found)} modules{span}{full}, {self.dtype}"


def trained_adapter(
    leaves: Params, rslora: bool = False, saved: Params | None = None, base: str | None = None
) -> Adapter:
    """Returns what training has made as an adapter.

    A rank is the number of columns of A and rows of B up to the last that is not zero in both: what pads a smaller rank
    is zero, and stays so in training.

    Args:
      leaves: A, B and scales of all modules that have them.
      rslora: see `Adapter`.
      saved: nested dict of the parameters that were trained in full.
      base: see `Adapter`.
    """
    flat = {path: np.asarray(leaf, np.float32) for path, leaf in traverse_util.flatten_dict(leaves, sep=SEP).items()}
    ranks = {module: _ranks(flat[a], flat[b]) for module, (a, b, _) in adapted_modules(flat).items()}
    whole: dict[str, Any] = traverse_util.flatten_dict(saved or {}, sep=SEP)
    pieces = {path: {(): np.asarray(value)} for path, value in whole.items()}
    return Adapter(traverse_util.unflatten_dict(flat, sep=SEP), ranks, pieces, rslora, base=base)


def adapted_modules(flat: Mapping[str, Array]) -> dict[str, tuple[str, str, str]]:
    """Returns the paths of A, B and the scale by the path of their module, from leaves by their paths."""
    modules = [path.removesuffix(LORA_A)[:-1] for path in flat if path.endswith(LORA_A)]
    return {module: leaf_paths(module) for module in modules}


def _ranks(a: Float[np.ndarray, "*stack D r"], b: Float[np.ndarray, "*stack r F"]) -> Int[np.ndarray, "*stack"]:
    used = np.any(a != 0, axis=-2) | np.any(b != 0, axis=-1)
    return np.max(used * np.arange(1, used.shape[-1] + 1), axis=-1)


def put_adapter(params: Params, adapter: Adapter) -> Params:
    """Returns the parameters of the base with the leaves of an adapter, and with what it replaces.

    Args:
      params: nested dict of arrays, or of leaves that are read when they are asked for (`checkpoint.lazy`), of the
        model for which the adapter was read.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    flat |= traverse_util.flatten_dict(adapter.leaves, sep=SEP)
    for path, pieces in adapter.saved.items():
        if () in pieces:
            flat[path] = pieces[()]
            continue
        flat[path] = np.array(flat[path])
        for index, piece in pieces.items():
            flat[path][index] = piece
    return traverse_util.unflatten_dict(flat, sep=SEP)
