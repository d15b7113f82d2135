"""Parameters that an adapter of PEFT saves in full (`modules_to_save`), checked against the model."""

from collections.abc import Mapping

import numpy as np

from fac_jax.checkpoint.adapters.config import CONFIG, PeftConfig
from fac_jax.checkpoint.adapters.faults import Faults
from fac_jax.checkpoint.adapters.names import Names
from fac_jax.checkpoint.release.names import relaid
from fac_jax.checkpoint.release.params import torch_shape
from fac_jax.layers.param import SEP

Pieces = dict[str, dict[tuple[int, ...], np.ndarray]]


def saved_pieces(full: Mapping[str, np.ndarray], peft: PeftConfig, names: Names, faults: Faults) -> Pieces:
    """Returns parameters that are saved in full, in our layout, as `Adapter.saved` has them.

    A table that torch holds twice must be there twice, with equal values: a model of ours has it once.

    Args:
      full: tensors by the names of torch.
      faults: gets all that is wrong.
    """
    partners = dict(names.tied) | {read: name for name, read in names.tied.items()}
    found: Pieces = {}
    for name, tensor in full.items():
        original = names.tied.get(name, name)
        if original not in names.params:
            faults.add("is unknown", name)
            continue
        entry, index = names.params[original]
        path = SEP.join(entry.path)
        expected = torch_shape(entry, names.shapes[entry.path])
        if tensor.shape != expected:
            faults.add("of another shape", name, f"is {list(tensor.shape)}, by the model {list(expected)}")
        modules = [one.rpartition(".")[0] for one in (name, partners.get(name)) if one is not None]
        if not any(map(peft.saves, modules)):
            faults.add(f"is saved in full and is none of modules_to_save in {CONFIG}", name)
        found.setdefault(path, {})[index] = relaid(tensor, entry.layout)
    for repeated, read in names.tied.items():
        lacking = [name for name in (repeated, read) if name not in full]
        if len(lacking) == 1:
            other = read if lacking[0] == repeated else repeated
            detail = f"is saved in full without {lacking[0]}, to which it is tied: a model here has one table for both"
            faults.add("is saved without what it is tied to", other, detail)
        elif not lacking and not np.array_equal(full[repeated], full[read]):
            faults.add("differs from what it is tied to", repeated, f"differs from {read}, to which it is tied")
    for key in peft.saved:
        if not any(name.rpartition(".")[0].endswith(key) for name in full):
            faults.add(f"is one of modules_to_save in {CONFIG} and has no tensor", key)
    return found
