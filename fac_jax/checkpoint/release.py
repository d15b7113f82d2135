"""Parameters from and to the release's torch names and shapes."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fac_jax.checkpoint.names import TIED_SPEECH_HEAD, TIED_TEXT_HEAD, TO_OURS, TO_TORCH, release_entries
from fac_jax.models.config import ModelConfig
from fac_jax.types import Array, InputError, Params


def from_release(tensors: Mapping[str, np.ndarray], config: ModelConfig) -> Params:
    """Our parameter tree (scanned layers) from all tensors of a released checkpoint.

    Raises:
      InputError: names that are missing, unknown, or tied to a tensor that differs; all of them in one message.
    """
    faults, used = [], set()
    for name, source in _tied(config):
        if name in tensors:
            used.add(name)
            if source in tensors and not np.array_equal(tensors[name], tensors[source]):
                faults.append(f"{name} differs from {source}, to which it is tied")
    params: Params = {}
    for entry in release_entries(config):
        names = entry.names.ravel().tolist()
        used.update(names)
        missing = [name for name in names if name not in tensors]
        if missing:
            faults += [f"{name} is missing" for name in missing]
            continue
        stacked = np.stack([TO_OURS[entry.layout](tensors[name]) for name in names])
        _insert(params, entry.path, stacked.reshape(*entry.names.shape, *stacked.shape[1:]))
    faults += [f"{name} is unknown" for name in tensors if name not in used]
    if faults:
        raise InputError(f"{len(faults)} faults in the checkpoint's names: " + "; ".join(faults))
    return params


def to_release(params: Params, config: ModelConfig) -> dict[str, Array]:
    """Inverse of `from_release`; also carries gradients or any tree of that structure. Tied heads are not repeated."""
    out = {}
    for entry in release_entries(config):
        value: Any = params
        for key in entry.path:
            value = value[key]
        value = np.asarray(value)
        flat = value.reshape(-1, *value.shape[entry.names.ndim :])
        for name, tensor in zip(entry.names.ravel().tolist(), flat, strict=True):
            out[name] = TO_TORCH[entry.layout](tensor)
    return out


def _tied(config: ModelConfig) -> list[tuple[str, str]]:
    return [TIED_SPEECH_HEAD, TIED_TEXT_HEAD] if config.tie_embeddings else [TIED_SPEECH_HEAD]


def _insert(tree: Params, path: tuple[str, ...], value: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value
