"""Compares an adapter with what PEFT recorded of it (`io.npz` beside it): logits, losses, and norms of gradients.

The recording is that of the release's classes on the training batch of the base, or that of Qwen3 on texts.
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import traverse_util

from fac_jax.checkpoint.adapters.adapter import Adapter, put_adapter
from fac_jax.checkpoint.adapters.load import read_adapter
from fac_jax.checkpoint.adapters.names import PREFIX, WEIGHT, Names, Part, names_of
from fac_jax.checkpoint.adapters.save import peft_tensors
from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.evaluation.parity.model import (
    NO_NORM,
    Figure,
    check_shape,
    difference,
    everything,
    relative,
    training_batch,
    under,
)
from fac_jax.evaluation.parity.recording import read_arrays
from fac_jax.layers.linear import LORA_SCALE
from fac_jax.layers.param import SEP
from fac_jax.losses import Sft
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import is_leaf, merge
from fac_jax.precision import EXACT, products
from fac_jax.types import IGNORE, Batch, Params

RECORDED: Final = "io.npz"
LOGITS, LOSSES, NORMS = 1e-5, 1e-6, 1e-5  # limits: absolute, relative, relative
Objective: TypeAlias = Callable[[FunAudioChat, Params], tuple[jax.Array, dict[str, jax.Array]]]
Flat: TypeAlias = dict[str, Any]


def compare_adapter(folder: Path, params: Params, config: ModelConfig, base: Path) -> Iterator[Figure]:
    """Yields all figures of a recorded adapter, computed in float32 at the highest precision.

    Args:
      folder: of the adapter in PEFT's format, with its recorded run.
      params: of the base.
      config: of the base.
      base: folder of the base; its recorded run holds the inputs of a whole model, if that of the adapter does not.

    Raises:
      InputError: see `read_adapter`; or arrays are missing, or those of another model.
    """
    adapter, arrays = read_adapter(folder, config), read_arrays(folder / RECORDED)
    config = replace(config, dtype="float32")
    # Of the tables that the adapter replaces, too: a gradient has the dtype of what it belongs to.
    params, adapter = _float32(params), dataclasses.replace(adapter, saved=_float32(adapter.saved))
    part: Part = "text" if "input_ids" in arrays else "whole"
    if part == "text":
        batch, objective = _text_batch(arrays, config), Sft(chunk=16, speech_weight=0.0)
        logits = _text_logits(params, adapter, config, batch, arrays)
    else:
        batch, config = training_batch(arrays if under(arrays, "in/") else read_arrays(base / RECORDED), config)
        objective = Sft(chunk=16)
        logits = _logits(params, adapter, config, batch, arrays)
    loss: Objective = partial(objective, batch=batch)
    for figures in (
        logits,
        _losses(put_adapter(params, adapter), adapter, names_of(config, part), loss, config, arrays),
    ):
        with products(EXACT):
            found = list(figures)
        yield from found


def _float32(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def _text_batch(arrays: Mapping[str, np.ndarray], config: ModelConfig) -> Batch:
    """Places texts on the grid; every id that the mask shows is a label, and none stands for audio."""
    ids, mask = arrays["input_ids"], arrays["attention_mask"]
    labels = np.where(mask.astype(bool), ids, IGNORE)
    texts = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return release_batch(texts, replace(config, special={"audio": -1}))


def _text_logits(
    params: Params, adapter: Adapter, config: ModelConfig, batch: Batch, arrays: Mapping[str, np.ndarray]
) -> Iterator[Figure]:
    model, kept = FunAudioChat(config), np.asarray(batch.segment_ids) > 0

    @jax.jit
    def logits(params: Params) -> jax.Array:
        hidden = cast(Any, model.apply({"params": params}, batch, heads="text")).hidden
        return cast(jax.Array, model.apply({"params": params}, hidden, method="text_logits"))

    adapted = put_adapter(params, adapter)
    yield difference("text logits", logits(adapted), arrays["adapted"], LOGITS, kept)
    yield difference("text logits of the merged model", logits(merge(adapted)), arrays["merged"], LOGITS, kept)
    yield difference("text logits of the base", logits(params), arrays["base"], LOGITS, kept)


def _logits(
    params: Params, adapter: Adapter, config: ModelConfig, batch: Batch, arrays: Mapping[str, np.ndarray]
) -> Iterator[Figure]:
    run = jax.jit(partial(FunAudioChat(config).apply, method=everything))
    _, text, speech = cast(Any, run({"params": put_adapter(params, adapter)}, batch))
    kept = np.asarray(batch.segment_ids) > 0
    yield difference("text logits", text, arrays["text_logits"], LOGITS, kept)
    # The release makes no speech of the last position of a row.
    spoken = np.repeat(kept & np.roll(kept, -1, axis=1), config.group_size, axis=1)
    fine = rearrange(speech, "b s g c -> b (s g) c")
    yield difference("speech logits", fine, arrays["speech_logits"], LOGITS, spoken)
    _, text, _ = cast(Any, run({"params": params}, batch))
    yield difference("text logits of the base", text, arrays["base_text_logits"], LOGITS, kept)


def _losses(
    params: Params,
    adapter: Adapter,
    names: Names,
    objective: Objective,
    config: ModelConfig,
    arrays: Mapping[str, np.ndarray],
) -> Iterator[Figure]:
    """Compares the losses of the adapted parameters, and the gradient of every tensor of the adapter."""
    model, flat = FunAudioChat(config), traverse_util.flatten_dict(params, sep=SEP)
    trained = {path: leaf for path, leaf in flat.items() if _trains(path, adapter)}

    def loss(trained: Flat, model: FunAudioChat) -> tuple[jax.Array, dict[str, jax.Array]]:
        return objective(model, traverse_util.unflatten_dict(flat | trained, sep=SEP))

    gradient = jax.value_and_grad(loss, has_aux=True)
    (total, metrics), grads = jax.jit(partial(gradient, model=model))(trained)
    yield relative("loss", total, arrays["loss"], LOSSES)
    if "speech_loss" in arrays:
        moe = config.text.moe
        # The release's text loss holds the router's.
        router = moe.aux_loss_coef * metrics["router_loss"] if moe is not None else 0.0
        yield relative("text loss", metrics["text_loss"] + router, arrays["text_loss"], LOSSES)
        yield relative("speech loss", metrics["speech_loss"], arrays["speech_loss"], LOSSES)
    ours = _by_name(grads, adapter, names)
    recorded = _recorded(arrays)
    twice = {name: read for name, read in names.tied.items() if name in recorded and read in recorded}
    if twice:
        heads = _by_name(jax.jit(partial(gradient, model=_HeadsOnly(config)))(trained)[1], adapter, names)
        ours |= {read: ours[read] - heads[name] for name, read in twice.items()}
        ours |= {name: heads[name] for name in twice}
    for name in recorded | ours:
        norm = float(np.linalg.norm(np.asarray(ours[name], np.float64))) if name in ours else np.inf
        expected = recorded.get(name, 0.0)
        title = f"gradient norm of {name.removesuffix(WEIGHT)}"
        if expected:
            yield Figure(f"{title}, relative", abs(norm - expected) / expected, NORMS)
        else:
            yield Figure(title, norm, NO_NORM)


def _trains(path: str, adapter: Adapter) -> bool:
    return path in adapter.saved or (is_leaf(path) and not path.endswith(LORA_SCALE))


def _by_name(grads: Flat, adapter: Adapter, names: Names) -> dict[str, np.ndarray]:
    """Returns gradients by the names of PEFT's tensors; of a table that torch has twice each is that of both."""
    leaves = traverse_util.flatten_dict(adapter.leaves, sep=SEP) | {
        path: one for path, one in grads.items() if is_leaf(path)
    }
    saved = {path: {at: np.asarray(grads[path])[at] for at in pieces} for path, pieces in adapter.saved.items()}
    nested = traverse_util.unflatten_dict(leaves, sep=SEP)
    return peft_tensors(dataclasses.replace(adapter, leaves=nested, saved=saved, dtype="float32"), names)


def _recorded(arrays: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Returns the recorded norms by the names of tensors on disk, which lack the name of the adapter."""
    check_shape("grad_norms", arrays["grad_names"], arrays["grad_norms"])
    names = [re.sub(r"\.(modules_to_save\.)?default(?=\.)", "", name) for name in arrays["grad_names"].tolist()]
    own = [name.removeprefix(PREFIX) for name in names]
    return dict(zip(own, arrays["grad_norms"].tolist(), strict=True))


class _HeadsOnly(FunAudioChat):
    """A model in which looking up ids trains no table, so that a table's gradient is that of the output head alone."""

    def apply(self, variables: Any, *inputs: Any, **options: Any) -> Any:
        """See `nn.Module.apply`; losses read the output heads elsewhere."""
        params = dict(variables["params"])
        for part in ("speech_embedder", "backbone"):
            params[part] = {**params[part], "embed": jax.lax.stop_gradient(params[part]["embed"])}
        return super().apply({"params": params}, *inputs, **options)
