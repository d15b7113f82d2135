"""An adapter of PEFT as leaves of ours: every tensor is used, every pair is whole, and all faults are told at once."""

import contextlib
import functools
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint.adapters.adapter import Adapter, put_adapter
from fac_jax.checkpoint.adapters.base import base_digest, check_base, read_base
from fac_jax.checkpoint.adapters.config import CONFIG, PeftConfig, read_config
from fac_jax.checkpoint.adapters.faults import Faults
from fac_jax.checkpoint.adapters.names import PARTS, PREFIX, Names, names_of
from fac_jax.checkpoint.adapters.saved import saved_pieces
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.io import copy, is_local
from fac_jax.layers.param import SEP
from fac_jax.models.config import ModelConfig
from fac_jax.models.lora import leaf_paths
from fac_jax.types import InputError, Params

ADAPTER: Final = "adapter"  # folder of a stage
FILE: Final = "adapter_model.safetensors"
_PAIR: Final = re.compile(r"(.+)\.lora_([AB])\.weight")
_OTHER: Final = re.compile(r".+\.lora_.+")


def find_adapter(path: epath.PathLike) -> epath.Path:
    """Returns the folder of the adapter that a path names: one in PEFT's format, or a stage that holds one.

    Raises:
      InputError: there is none.
    """
    path = epath.Path(path)
    found = next((folder for folder in (path, path / ADAPTER) if (folder / CONFIG).exists()), None)
    if found is None:
        raise InputError(f"{path}: holds no adapter: there is neither {CONFIG} nor {ADAPTER}/{CONFIG}")
    return found


def read_adapter(
    path: epath.PathLike, model: ModelConfig, digest: Callable[[], str] | None = None, any_base: bool = False
) -> Adapter:
    """Reads an adapter in PEFT's format, for the whole model or for its Shared LLM alone.

    Args:
      path: of its folder, or of a stage (`find_adapter`).
      model: configuration of the base.
      digest: gives `base_digest` of the base, to compare with that of the base that the adapter was trained on; not
        called if that was not noted. None to compare shapes alone.
      any_base: whether the values of the base may be others.

    Raises:
      InputError: there is no adapter, a file of it is damaged, or it is none of this model; names all faults.
    """
    folder = find_adapter(path)
    with _on_disk(folder) as here:
        tensors = TensorFolder(here, FILE)
        peft, wrong = read_config(here)
        base = read_base(here)
        faults = Faults()
        pairs, full = _sorted(tensors, faults)
    found = [names_of(model, part) for part in PARTS]
    names = max(
        found, key=lambda names: len(names.modules.keys() & pairs.keys()) + len(names.params.keys() & full.keys())
    )
    fitting = [module for module in pairs.keys() & names.modules.keys() if _fits(pairs[module], names.widths(module))]
    if pairs and not fitting:
        module = next(iter(pairs))
        told = f"none of its {len(pairs)} modules is one of this model; the first is {module}: {_shapes(pairs[module])}"
        raise InputError(f"{folder}: an adapter of another base: {'; '.join([told, *wrong])}")
    _check_pairs(pairs, peft, names, faults)
    saved = saved_pieces(full, peft, names, faults)
    if not tensors:
        wrong.append(f"{FILE} holds no tensors")
    told = wrong + faults.told()
    if told:
        raise InputError(f"{folder}: {len(wrong) + faults.count} faults in the adapter: {'; '.join(told)}")
    leaves, ranks = _stacked(pairs, peft, names)
    dtypes = [tensor.dtype for pair in pairs.values() for tensor in pair.values()]
    dtype = jnp.result_type(*dtypes).name if dtypes else "float32"
    noted = None if base is None else base.digest
    if digest is not None and noted is not None and not any_base:
        check_base(noted, digest(), path)
    return Adapter(leaves, ranks, saved, peft.rslora, peft.dropout, dtype, noted)


def adapted(params: Params, model: ModelConfig, path: epath.PathLike, any_base: bool = False) -> Params:
    """Returns the parameters of a base with the adapter that a path names (`read_adapter`, `put_adapter`)."""
    digest = functools.partial(base_digest, params, model)
    return put_adapter(params, read_adapter(path, model, digest, any_base))


@contextlib.contextmanager
def _on_disk(folder: epath.Path) -> Iterator[Path]:
    """Gives a folder on a disk with the files of an adapter: a copy of one in a cloud store."""
    if is_local(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="fac_jax_") as here:
        copy(folder, here)
        yield Path(here)


def _sorted(tensors: TensorFolder, faults: Faults) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, np.ndarray]]:
    """Reads all tensors: "A" and "B" by the torch name of their module, and parameters in full by theirs."""
    pairs: dict[str, dict[str, np.ndarray]] = {}
    full: dict[str, np.ndarray] = {}
    for name in tensors:
        own, tensor = name.removeprefix(PREFIX), tensors[name]
        pair = _PAIR.fullmatch(own)
        if not np.isfinite(tensor.astype(np.float32)).all():
            faults.add("holds a NaN or an infinity", name)
        if own == name:
            faults.add(f"does not begin with {PREFIX}", name)
        elif pair:
            pairs.setdefault(pair[1], {})[pair[2]] = tensor
        elif _OTHER.fullmatch(own):
            faults.add("is neither A nor B of a linear layer", name)
        else:
            full[own] = tensor
    return pairs, full


def _fits(pair: Mapping[str, np.ndarray], widths: tuple[int, int]) -> bool:
    """Returns whether what is there of a pair has the widths of a module."""
    inward, outward = widths
    a, b = pair.get("A"), pair.get("B")
    return (a is None or a.shape[1:] == (inward,)) and (b is None or (b.ndim == 2 and b.shape[0] == outward))


def _shapes(pair: Mapping[str, np.ndarray]) -> str:
    return " and ".join(f"{letter} {list(tensor.shape)}" for letter, tensor in sorted(pair.items()))


def _check_pairs(pairs: Mapping[str, Mapping[str, np.ndarray]], peft: PeftConfig, names: Names, faults: Faults) -> None:
    """Holds A and B of every module against the model and the configuration of the adapter."""
    for module, pair in pairs.items():
        if module not in names.modules:
            faults.add("is no linear layer of the model", module)
            continue
        lacking = sorted({"A", "B"} - pair.keys())
        if lacking:
            faults.add("has A without B, or B without A", module, f"has no lora_{lacking[0]}")
        inward, outward = names.widths(module)
        rank = peft.rank_of(module)
        expected = {"A": (rank, inward), "B": (outward, rank)}
        for letter, tensor in sorted(pair.items()):
            if tensor.shape != expected[letter]:
                detail = f"is {list(tensor.shape)}, by model and {CONFIG} {list(expected[letter])}"
                faults.add("of another shape", f"{module}.lora_{letter}", detail)
        if not peft.adapts(module):
            faults.add(f"has an adapter and is none of target_modules in {CONFIG}", module)
    # transformers 5 keeps the kernels of all experts in one array, which no name of a target matches.
    with_tensors = {names.modules[module].module for module in pairs if module in names.modules}
    for module, place in names.modules.items():
        split = len(names.kernels[place.module]) == 4 and place.module not in with_tensors
        if module not in pairs and not split and peft.adapts(module):
            faults.add("is one of target_modules and has no tensors", module)


def _stacked(
    pairs: Mapping[str, Mapping[str, np.ndarray]], peft: PeftConfig, names: Names
) -> tuple[Params, dict[str, np.ndarray]]:
    """Returns leaves and ranks from pairs without a fault; smaller ranks are padded with zeros."""
    modules = {names.modules[name].module for name in pairs}
    stacks = {module: names.kernels[module][:-2] for module in modules}
    ranks = {module: np.zeros(stack, np.int64) for module, stack in stacks.items()}
    for name in pairs:
        place = names.modules[name]
        ranks[place.module][place.index] = peft.rank_of(name)
    leaves: dict[str, Any] = {}
    for module, stack in stacks.items():
        (inward, outward), rank = names.kernels[module][-2:], int(ranks[module].max())
        shapes = (*stack, inward, rank), (*stack, rank, outward), stack
        leaves |= {path: np.zeros(shape, np.float32) for path, shape in zip(leaf_paths(module), shapes, strict=True)}
    for name, pair in pairs.items():
        place, rank = names.modules[name], peft.rank_of(name)
        a, b, scale = (leaves[path] for path in leaf_paths(place.module))
        a[place.index][:, :rank] = pair["A"].T
        b[place.index][:rank] = pair["B"].T
        scale[place.index] = peft.scale_of(name)
    return traverse_util.unflatten_dict(leaves, sep=SEP), ranks
