"""Meshes and rules as tables; steps, merges and generation on eight devices equal those on one."""

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import optax
import pytest
from initial import initial_params
from mesh_run import CONFIGS, MESHES, ROWS, STAGES, alone, fresh, layout, one_step, worst
from toy_training import make_batch

from fac_jax.generation.decode import generate
from fac_jax.generation.prepared import prepare
from fac_jax.generation.sampling import Sampling
from fac_jax.generation.slots import Decoding
from fac_jax.models.presets import preset
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.mesh import make_layout
from fac_jax.parallel.rules import PRESETS, spec_of
from fac_jax.training.merge import merge
from fac_jax.training.program import abstract_params, abstract_state
from fac_jax.types import InputError

SHARDED = {
    "fsdp": {"fsdp": 8},
    "fsdp_tensor": {"fsdp": 4, "tensor": 2},
    "fsdp_tensor_expert": {"fsdp": 2, "expert": 2, "tensor": 2},
    "fsdp_tensor_expert_context": {"expert": 2, "context": 2, "tensor": 2},
}
MEGABYTE = 2**20
# What an optimizer may leave whole; a row of Adafactor's has lost the width that FSDP cuts.
OPTIMIZERS = {"adamw": (optax.adamw(1e-3), MEGABYTE), "adafactor": (optax.adafactor(1e-3), 32 * MEGABYTE)}


def test_an_axis_is_given_once_and_the_first_rule_wins() -> None:
    rules = PRESETS["fsdp_tensor_expert"]
    rows = ("dcn_data", "data", "fsdp", "expert")
    assert spec_of(("batch", "length", "embed"), rules) == jax.P(rows, None, None)
    assert spec_of(("layers", "embed", "heads"), rules) == jax.P(None, ("fsdp", "expert"), "tensor")
    assert spec_of(("experts", "embed", "mlp"), rules) == jax.P("expert", "fsdp", "tensor")
    assert spec_of(("embed", "audio_heads"), PRESETS["data"]) == jax.P(None, None)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["8b", "30b_a3b"])
@pytest.mark.parametrize("rules", SHARDED)
def test_nothing_large_is_left_whole(rules: str, name: str, optimizer: str) -> None:
    """At the released sizes, parameters and moments; nothing is allocated."""
    params = abstract_params(preset(name), make_layout(SHARDED[rules], rules))
    chain, limit = OPTIMIZERS[optimizer]
    state = abstract_state(params, chain, ("",))
    whole = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if math.prod(leaf.shape) * leaf.dtype.itemsize > (limit if path[0].name == "opt_state" else MEGABYTE)
        and math.prod(leaf.sharding.shard_shape(leaf.shape)) == math.prod(leaf.shape)
    }
    assert not whole
    if optimizer == "adamw":
        moment = state.opt_state[0].mu["backbone"]["embed"]["embedding"]
        assert moment.sharding == params["backbone"]["embed"]["embedding"].sharding


@pytest.mark.parametrize(
    ("mesh", "rules", "message"),
    [
        ({"fsdp": 4}, "fsdp", "mesh fsdp=4 does not multiply to the 8 devices there are"),
        ({"fsdp": -1, "tensor": 3}, "fsdp_tensor", "mesh fsdp=-1 x tensor=3 does not multiply to the 8 devices"),
        ({"fsdp": -1, "tensor": -1}, "fsdp_tensor", "sizes are 1 or more, and at most one is -1"),
        ({"model": 8}, "fsdp", "unknown mesh axis model; known: dcn_data, data, fsdp, expert, context, tensor"),
        ({"data": 8}, "zero", "unknown rules 'zero'; known: data, fsdp, fsdp_tensor"),
        ({"fsdp": 4, "tensor": 2}, "fsdp", "mesh axis tensor=2 is idle under the rules 'fsdp'; take 'fsdp_tensor'"),
    ],
)
def test_a_wrong_mesh_is_refused_in_one_line(mesh: dict[str, int], rules: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_layout(mesh, rules)


def test_the_rest_of_the_devices_can_be_left_to_one_axis() -> None:
    assert make_layout({"fsdp": -1, "tensor": 2}).mesh.shape["fsdp"] == 4


def test_what_the_mesh_does_not_divide_is_refused_in_one_line() -> None:
    words = (
        r"parameter refined_head/.*/k/kernel: dimension 2 \(kv_heads\) of \(1, 16, 12\) is not divisible by .*tensor=8"
    )
    odd = dataclasses.replace(CONFIGS["dense"].head, num_heads=3, num_kv_heads=3, head_dim=4)
    with pytest.raises(InputError, match=words):
        abstract_params(dataclasses.replace(CONFIGS["dense"], head=odd), make_layout({"tensor": 8}))
    with pytest.raises(InputError, match=r"batch.text_ids: dimension 0 \(batch\) of \(6, 12\) is not .* fsdp=8"):
        place_batch(make_batch(0, rows=6), layout("8"))


def marked(always: set[tuple[str, ...]], *names: Iterable[str]) -> list[Any]:
    """Every combination, slow unless every run is to have it: programs of meshes take long to compile."""
    every = itertools.product(*names)
    return [pytest.param(*one, marks=[] if one in always else pytest.mark.slow) for one in every]


EVERY_STEP = marked({("sft", "moe", "2x2x2")}, STAGES, CONFIGS, MESHES)


@pytest.mark.parametrize(("what", "config", "mesh"), EVERY_STEP)
def test_a_step_equals_that_of_one_device(what: str, config: str, mesh: str, figures) -> None:
    state, metrics = one_step(CONFIGS[config], STAGES[what], layout(mesh))
    expected, numbers = alone(config, what)
    name = f"{what}, {config}, mesh {mesh}: "
    loss = abs(float(metrics["loss"]) - numbers["loss"]) / abs(numbers["loss"])
    figures(name + "loss, relative", float(loss), 1e-5)
    figures(name + "updated parameters, relative", worst(state.params, expected.params), 1e-5)
    moments, alone_moments = (one.opt_state[1][0].mu for one in (state, expected))  # the gradient, clipped
    figures(name + "first moments, relative", worst(moments, alone_moments), 1e-5)
    kernel = state.params["backbone"]["decoder"]["layers_0"]["attention"]["q"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) != kernel.shape
    assert (
        state.opt_state[1][0].mu["encoder"]["proj"]["kernel"].sharding
        == state.params["encoder"]["proj"]["kernel"].sharding
    )


@pytest.mark.parametrize(("config", "mesh"), marked({("moe", "2x2x2")}, CONFIGS, MESHES))
def test_a_merge_equals_that_of_one_device_and_stays_in_its_shards(config: str, mesh: str, figures) -> None:
    trees = [fresh(CONFIGS[config], layout(mesh), seed) for seed in (0, 1)]
    merged = merge(*trees, {"backbone/": 0.25})
    whole = [jax.device_get(tree) for tree in trees]
    figures(f"merge, {config}, mesh {mesh}, relative", worst(merged, merge(*whole, {"backbone/": 0.25})), 1e-6)
    assert all(
        a.sharding.is_equivalent_to(b.sharding, a.ndim)
        for a, b in zip(jax.tree.leaves(merged), jax.tree.leaves(trees[0]), strict=True)
    )


DECODING = Decoding("joint", 6, speech=Sampling(temperature=0.9, top_p=0.9, repetition_penalty=1.1))


@pytest.mark.parametrize(("config", "mesh"), marked(set(), CONFIGS, MESHES))
def test_generation_is_the_same_token_for_token(config: str, mesh: str) -> None:
    model = CONFIGS[config]
    prompt, keys = make_batch(0, rows=ROWS), jax.random.split(jax.random.key(0), ROWS)
    params = initial_params(model)
    prepared, decoder = prepare(model, params)
    expected = jax.device_get(generate(prepared, decoder, prompt, keys, 6, DECODING))
    assert len(np.unique(expected.speech_ids)) > 4
    on = layout(mesh)
    prepared, decoder = prepare(model, fresh(model, on), on)
    reply = generate(prepared, decoder, place_batch(prompt, on), keys, 6, DECODING, on)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(reply), expected)


def test_generation_refuses_a_mesh_that_cuts_positions() -> None:
    on = make_layout({"fsdp": 4, "context": 2})
    with pytest.raises(InputError, match="generation has no use for the mesh axis context"):
        prepare(CONFIGS["dense"], {}, on)
