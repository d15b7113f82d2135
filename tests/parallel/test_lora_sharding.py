"""Adapters on a mesh: divided as their kernels are, with the numbers of one device."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adapters import EVERYTHING
from flax import traverse_util
from mesh_run import CONFIGS, OPTIMIZER, ROWS, layout
from toy_training import make_batch, stage

from fac_jax.layers.moe import ExpertAdapter, ExpertKernels, SortedExperts
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.models.lora import LoraConfig
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.mesh import Layout
from fac_jax.training.adapter import attached, merged
from fac_jax.training.program import abstract_params, shardings, stage_program

ALL = LoraConfig((*EVERYTHING, "experts"), rank=4)


def test_an_adapter_is_divided_as_its_kernel_is() -> None:
    params = traverse_util.flatten_dict(abstract_params(CONFIGS["moe"], layout("2x2x2"), ALL), sep="/")
    specs = {path.removeprefix("backbone/decoder/layers_0/"): leaf.sharding.spec for path, leaf in params.items()}
    width = specs["attention/q/kernel"][1]
    assert width and specs["attention/q/kernel"] == jax.P(None, width, "tensor")
    assert specs["attention/q/lora_a"] == jax.P(None, width, None)
    assert specs["attention/q/lora_b"] == jax.P(None, None, "tensor")
    assert specs["attention/o/lora_a"] == jax.P(None, "tensor", None)
    assert specs["attention/o/lora_scale"] == jax.P(None)
    assert specs["moe/down_lora_a"] == jax.P(None, "expert", "tensor", None)
    assert specs["moe/down_lora_b"] == jax.P(None, "expert", None, specs["moe/down"][-1])
    assert specs["moe/gate_lora_scale"] == jax.P(None, "expert")


@pytest.mark.parametrize("mesh", ["2x2x2", pytest.param("8", marks=pytest.mark.slow)])
def test_experts_with_adapters_equal_merged_ones(mesh: str, figures: Any) -> None:
    rng = np.random.default_rng(0)
    shapes = {"gate": (4, 16, 12), "up": (4, 16, 12), "down": (4, 12, 16)}
    random = lambda *shape: jnp.asarray(0.3 * rng.standard_normal(shape), jnp.float32)  # noqa: E731
    plain = {name: random(*shape) for name, shape in shapes.items()}
    pairs = {name: ExpertAdapter(random(e, d, 2), random(e, 2, f)) for name, (e, d, f) in shapes.items()}
    x, (weights, picks) = random(8, 6, 16), jax.lax.top_k(jax.nn.softmax(random(8, 6, 4)), 2)

    def gradient(experts: Any, merge: bool) -> Any:
        def loss(pairs: Any) -> jax.Array:
            both = {name: kernel + jnp.matmul(pairs[name].a, pairs[name].b) for name, kernel in plain.items()}
            kernels = ExpertKernels(**both) if merge else ExpertKernels(**plain, adapters=pairs)
            return jnp.sum(jnp.sin(experts(x, picks, weights, kernels)))

        return jax.jit(jax.value_and_grad(loss))(pairs)

    with jax.default_matmul_precision("highest"):
        mine, expected = gradient(ShardedExperts(layout(mesh)), False), gradient(SortedExperts(), True)
    leaves = zip(*map(jax.tree.leaves, jax.device_get((mine, expected))), strict=True)
    worst = max(float(np.abs(ours - theirs).max() / np.abs(theirs).max()) for ours, theirs in leaves)
    figures(f"experts with adapters, mesh {mesh}: gradients, max rel diff", worst, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["4x2", "2x2x2"])
def test_a_step_of_an_adapter_on_a_mesh_equals_that_on_one_device(mesh: str) -> None:
    config = CONFIGS["moe"]
    what = stage("lora", optimizer=OPTIMIZER, lora=ALL)

    def stepped(on: Layout | None) -> tuple[Any, Any]:
        shapes = abstract_params(config, on)
        make = jax.jit(lambda: init_params(config, jax.random.key(0)), out_shardings=on and shardings(shapes))
        program = stage_program(config, what, on)
        state = program.start(attached(make(), program.state.params, config, what, ""))
        batch = make_batch(0, rows=ROWS, config=config)
        state, metrics = program.step(state, batch if on is None else place_batch(batch, on))
        return jax.device_get((merged(state.params, config, on), metrics))

    (params, metrics), (expected, measured) = stepped(layout(mesh)), stepped(None)
    assert metrics["loss"] == pytest.approx(measured["loss"], rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(measured["grad_norm"], rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, expected)
