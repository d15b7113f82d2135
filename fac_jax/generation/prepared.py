"""A trained model in the form that generation reads (docs/generation.md, "Weights")."""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fac_jax import axes
from fac_jax.layers.linear import LORA, joined
from fac_jax.layers.matrices import Matrix
from fac_jax.models.config import DecoderConfig, ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import detach
from fac_jax.parallel.kernels import Quantized, decoding_kernels, matrix_form
from fac_jax.parallel.mesh import Layout
from fac_jax.types import InputError, Params

JOINED = (("q", "k", "v"), ("gate", "up"))  # layers that read the same vectors
LARGE = 2**26  # values of a table that is brought into another form in parts, as XLA's CPU backend widens it
BLOCKS = 32


def prepare(
    config: ModelConfig,
    params: Params,
    layout: Layout | None = None,
    quantize: Quantized | None = None,
    quantize_tables: bool = False,
) -> tuple[FunAudioChat, Params]:
    """Brings a trained model into the form of generation: layers apart, and a `Matrix` for every kernel and table.

    One layer is read at a time, so that a model whose leaves are read from disk when they are indexed
    (`checkpoint.lazy`) is never whole in memory as it was trained. An adapter stays apart from the kernels.

    Args:
      params: nested dict of arrays, or of what gives arrays when it is indexed or converted.
      layout: mesh on which the parameters are; None for one device.
      quantize: form of the kernels of the Shared LLM, of the refined head and of the audio encoder; None for values as
        they are. Experts and convolutions stay as they are.
      quantize_tables: whether the tables of text and speech ids are int8 by row.

    Raises:
      InputError: the mesh divides rows by positions, of which a step has only one; `quantize` is no form.
    """
    if layout is not None and layout.shards(axes.LENGTH) > 1:
        raise InputError("generation has no use for the mesh axis context: a step has one position; give it size 1")
    # Where devices divide heads, their shares of joined kernels would have to be exchanged.
    together = JOINED if layout is None or layout.mesh.size == 1 else ()
    kernel = functools.partial(_matrix, matrix_form(layout, quantize), config.dtype, True)
    table = functools.partial(_matrix, matrix_form(layout, "int8" if quantize_tables else None), config.dtype, False)

    def formed(tree: Any) -> Any:
        return _formed(tree, kernel, table, together)

    def decoder(tree: Params, config: DecoderConfig) -> Params:
        apart = {name: formed(value) for name, value in tree.items() if not name.startswith("layers_")}
        for start, length in config.runs():
            stack = tree[f"layers_{start}"]
            for i in range(length):
                apart[f"layers_{start + i}"] = formed(jax.tree.map(lambda leaf, i=i: leaf[i], stack))
        return apart

    def heard(tree: Any) -> Any:
        return jax.tree.map(jnp.asarray, tree) if quantize is None else _formed(tree, kernel, table, ())

    def encoder(tree: Params) -> Params:
        apart = {name: value for name, value in tree.items() if name not in ("layers", "proj")}
        apart = {**jax.tree.map(jnp.asarray, apart), "proj": heard(tree["proj"])}
        for i in range(config.audio.depth):
            apart[f"layers_{i}"] = heard(jax.tree.map(lambda leaf, i=i: leaf[i], tree["layers"]))
        return apart

    def whole(tree: Params, config: DecoderConfig) -> Params:
        return {name: decoder(value, config) if name == "decoder" else formed(value) for name, value in tree.items()}

    prepared = {
        "backbone": whole(params["backbone"], config.text),
        "refined_head": whole(params["refined_head"], config.head),
        "speech_embedder": formed(params["speech_embedder"]),
        "encoder": encoder(params["encoder"]),
    }
    if config.duplex is not None:
        prepared["beside"] = formed(params["beside"])
    return FunAudioChat(replace(config, scan_layers=False, remat="none"), decoding_kernels(layout)), prepared


def with_adapter(prepared: Params, adapter: Params) -> Params:
    """Returns a prepared model with an adapter, as it was trained, in the place of one that it has (`models.lora`).

    Nothing of the base is copied. Programs that were compiled with an adapter run with every other one of the same
    modules and ranks.
    """
    base, leaves = (traverse_util.flatten_dict(tree) for tree in (detach(prepared), apart(adapter)))
    return traverse_util.unflatten_dict(base | leaves)


def apart(adapter: Params) -> Params:
    """Takes the layers of all stacks of an adapter apart, as those of a prepared model are."""
    out: Params = {}
    for name, value in adapter.items():
        if stack := re.fullmatch(r"layers(?:_(\d+))?", name):
            for i in range(len(jax.tree.leaves(value)[0])):
                out[f"layers_{int(stack[1] or 0) + i}"] = jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), value)
        else:
            out[name] = apart(value) if isinstance(value, dict) else jnp.asarray(value)
    return out


def _formed(
    tree: Any,
    kernel: Callable[[Sequence[Any]], Matrix],
    table: Callable[[Sequence[Any]], Matrix],
    together: Sequence[tuple[str, ...]],
) -> Any:
    """Replaces the kernels of all layers and all tables of a tree."""
    if not isinstance(tree, dict):
        return jnp.asarray(tree)
    out = {}
    for names in together:
        if all(isinstance(tree.get(name), dict) for name in names):
            out[joined(names)] = kernel([tree[name]["kernel"] for name in names])
    done = [name for names in together if joined(names) in out for name in names]
    for name, value in tree.items():
        if name == "kernel":
            out["matrix"] = kernel([value])
        elif name == "embedding":
            out["matrix"] = table([value])
        elif name not in done:
            out[name] = _formed(value, kernel, table, together)
        elif adapter := {leaf: jnp.asarray(value[leaf]) for leaf in LORA if leaf in value}:
            out[name] = adapter
    return out


def _matrix(form: type[Matrix], dtype: str, transposed: bool, values: Sequence[Any]) -> Matrix:
    """Forms a matrix from kernels `[D, F]`, one below the other, or from a table `[F, D]`."""
    if transposed:
        return _compiled(form, dtype, True, [jnp.asarray(each) for each in values])
    table = values[0] if isinstance(values[0], jax.Array) else np.asarray(values[0])
    if isinstance(table, jax.Array) or table.size < LARGE:
        return _compiled(form, dtype, False, [jnp.asarray(table)])
    made = [_compiled(form, dtype, False, [jnp.asarray(some)]) for some in np.array_split(table, BLOCKS)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *made)


@functools.partial(jax.jit, static_argnames=("form", "dtype", "transposed"))
def _compiled(form: type[Matrix], dtype: str, transposed: bool, values: Sequence[jax.Array]) -> Matrix:
    return form.of(jnp.concatenate([each.T for each in values] if transposed else values), dtype)
