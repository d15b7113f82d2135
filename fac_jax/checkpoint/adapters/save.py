"""Leaves of ours as an adapter that PEFT loads on the release's classes, or on those of Qwen3."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import traverse_util
from safetensors.numpy import save

from fac_jax.checkpoint.adapters.adapter import Adapter
from fac_jax.checkpoint.adapters.base import Base, write_base
from fac_jax.checkpoint.adapters.config import CONFIG
from fac_jax.checkpoint.adapters.load import FILE
from fac_jax.checkpoint.adapters.names import PREFIX, Names, Part, Place, grouped, names_of, pattern_of
from fac_jax.checkpoint.json_files import write_json
from fac_jax.checkpoint.release.names import relaid
from fac_jax.io import absolute, is_local
from fac_jax.layers.param import SEP
from fac_jax.models.config import ModelConfig
from fac_jax.models.lora import leaf_paths
from fac_jax.types import InputError

PEFT_VERSION: Final = "0.21"  # whose format this is
TASKS: Final[Mapping[Part, str | None]] = {"whole": None, "text": "CAUSAL_LM"}


def save_adapter(
    folder: epath.PathLike, adapter: Adapter, model: ModelConfig, part: Part = "whole", base_name: str | None = None
) -> list[str]:
    """Writes an adapter as a folder in PEFT's format, which is whole as soon as it is there.

    It must not exist. On a local disk it is written next to it, and renamed.

    Args:
      model: configuration of the base.
      part: for the release's classes, or the Shared LLM's share for Qwen3's.
      base_name: what the configuration names as the base; a path or a name on a hub.

    Returns:
      the modules and parameters of ours that the part has no place for.

    Raises:
      InputError: nothing is left to write, or the folder exists.
    """
    names = names_of(model, part)
    modules = {name: place for name, place in names.modules.items() if _rank(adapter, place)}
    tensors = peft_tensors(adapter, names)
    saved = {name.rpartition(".")[0] for name in tensors if name in names.params or name in names.tied}
    if not tensors:
        raise InputError(f"the adapter has nothing of the part {part!r} to write")
    folder = absolute(folder)
    unfinished = folder.with_name(folder.name + ".unfinished") if is_local(folder) else folder
    if jax.process_index() == 0:
        if folder.exists():
            raise InputError(f"{folder}: exists already; remove it or give another folder")
        if unfinished.exists():
            unfinished.rmtree()
        unfinished.mkdir(parents=True)
        prefixed = {PREFIX + name: tensor for name, tensor in tensors.items()}
        (unfinished / FILE).write_bytes(save(prefixed, metadata={"format": "pt"}))
        write_base(unfinished, Base(model, adapter.base))
        config = _config(adapter, names, modules, saved, part)
        write_json(unfinished / CONFIG, {**config, "base_model_name_or_path": base_name})
        if unfinished != folder:
            unfinished.rename(folder)
    written = {place.module for place in modules.values()}
    paths = {SEP.join(entry.path) for entry, _ in names.params.values()}
    return [*(one for one in adapter.ranks if one not in written), *(one for one in adapter.saved if one not in paths)]


def peft_tensors(adapter: Adapter, names: Names) -> dict[str, np.ndarray]:
    """Returns the tensors of PEFT by their names without the prefix: pairs of A and B, and parameters in full."""
    return dict(_pairs(adapter, names)) | dict(_full(adapter, names))


def _rank(adapter: Adapter, place: Place) -> int:
    return int(adapter.ranks[place.module][place.index]) if place.module in adapter.ranks else 0


def _pairs(adapter: Adapter, names: Names) -> Iterator[tuple[str, np.ndarray]]:
    leaves: dict[str, Any] = traverse_util.flatten_dict(adapter.leaves, sep=SEP)
    dtype = jnp.dtype(adapter.dtype)
    for name, place in names.modules.items():
        rank = _rank(adapter, place)
        if not rank:
            continue
        a, b, _ = (np.asarray(leaves[path])[place.index] for path in leaf_paths(place.module))
        yield f"{name}.lora_A.weight", np.ascontiguousarray(a[:, :rank].T.astype(dtype))
        yield f"{name}.lora_B.weight", np.ascontiguousarray(b[:rank].T.astype(dtype))


def _full(adapter: Adapter, names: Names) -> Iterator[tuple[str, np.ndarray]]:
    for name in (*names.params, *names.tied):
        entry, index = names.params[names.tied.get(name, name)]
        pieces = adapter.saved.get(SEP.join(entry.path), {})
        piece = pieces[()][index] if () in pieces else pieces.get(index)
        if piece is not None:
            yield name, np.ascontiguousarray(relaid(piece, entry.layout))


def _config(
    adapter: Adapter, names: Names, modules: Mapping[str, Place], saved: Iterable[str], part: Part
) -> dict[str, Any]:
    """Returns the content of adapter_config.json; `saved` are the torch modules that are written in full."""
    leaves: dict[str, Any] = traverse_util.flatten_dict(adapter.leaves, sep=SEP)
    ranks = {name: _rank(adapter, place) for name, place in modules.items()}
    alphas = {}
    for name, place in modules.items():
        scale = np.asarray(leaves[leaf_paths(place.module)[-1]])[place.index]
        alphas[name] = _alpha(scale, ranks[name], adapter.rslora)
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] if values else 1 for values in (ranks, alphas))
    return {
        "peft_type": "LORA",
        "task_type": TASKS[part],
        "r": rank,
        "lora_alpha": alpha,
        "use_rslora": adapter.rslora,
        "lora_dropout": adapter.dropout,
        "target_modules": pattern_of(modules, names.modules),
        "rank_pattern": grouped({name: one for name, one in ranks.items() if one != rank}, modules),
        "alpha_pattern": grouped({name: one for name, one in alphas.items() if one != alpha}, modules),
        "modules_to_save": sorted(saved) or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "peft_version": PEFT_VERSION,
    }


def _alpha(scale: np.ndarray, rank: int, rslora: bool) -> float:
    """Returns the shortest alpha that gives a scale, which is rounded to float32."""
    factor = math.sqrt(rank) if rslora else rank
    exact = float(scale) * factor
    near = [alpha for alpha in (round(exact, digits) for digits in range(9)) if np.float32(alpha / factor) == scale]
    alpha = near[0] if near else exact
    return int(alpha) if alpha == int(alpha) else alpha
