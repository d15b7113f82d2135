"""Weight norms of PyTorch, folded into the kernels that they stand for."""

from collections.abc import Mapping
from typing import Final

import numpy as np

from fac_jax.types import InputError

# Endings of the norm and of the direction, as newer and older versions of PyTorch name them.
ENDINGS: Final = ((".parametrizations.weight.original0", ".parametrizations.weight.original1"), ("_g", "_v"))


def folded_names(name: str) -> str | None:
    """Returns the name of the kernel whose direction a tensor is; None for a norm, the same name for other tensors."""
    for norm, direction in ENDINGS:
        stem = ".weight" if norm == "_g" else ""
        if name.endswith(stem + norm):
            return None
        if name.endswith(stem + direction):
            return name.removesuffix(stem + direction) + ".weight"
    return name


def fold(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replaces every pair of norm g and direction v by the float64 kernel `g v / |v|`; |v| is over all axes but the
    first.

    Raises:
      InputError: one of a pair is missing, or they do not fit.
    """
    out: dict[str, np.ndarray] = {}
    norms = {name for name in tensors if folded_names(name) is None}
    for name, tensor in tensors.items():
        kernel = folded_names(name)
        if kernel is None:
            continue
        if kernel != name:
            norm = _norm_of(name)
            if norm not in norms:
                raise InputError(f"{norm} is missing, the weight norm of {name}")
            norms.discard(norm)
            tensor = _kernel(tensors[norm], tensor, norm)
        out[kernel] = tensor
    if norms:
        raise InputError(f"{min(norms)} is a weight norm without its direction")
    return out


def _norm_of(direction: str) -> str:
    for norm, ending in ENDINGS:
        if direction.endswith(ending):
            return direction.removesuffix(ending) + norm
    raise AssertionError(direction)


def _kernel(norm: np.ndarray, direction: np.ndarray, name: str) -> np.ndarray:
    wanted = (len(direction), *[1] * (direction.ndim - 1))
    if norm.shape != wanted:
        raise InputError(f"{name} is {list(norm.shape)}, must be {list(wanted)}")
    direction = direction.astype(np.float64)
    return norm * (direction / np.linalg.norm(direction.reshape(len(direction), -1), axis=1).reshape(wanted))
