"""Policies of rematerialisation: the same gradients whatever is stored, on one device and on a mesh."""

import functools
from typing import Any, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from mesh_run import DENSE, layout

from fac_jax.layers.attention import self_visibility
from fac_jax.layers.stack import POLICIES, Remat
from fac_jax.models.decoder import Decoder
from fac_jax.types import Params

ROWS, LENGTH = 8, 16
POSITIONS = jnp.tile(jnp.arange(LENGTH), (ROWS, 1))


def loss(remat: Remat, params: Params, x: jax.Array, unroll: bool = False) -> jax.Array:
    seen = self_visibility(jnp.ones_like(POSITIONS), POSITIONS, causal=True)
    out: Any = Decoder(DENSE.text, remat=remat, unroll=unroll).apply({"params": params}, x, POSITIONS, seen)
    return jnp.sum(out[0] * jnp.cos(7 * x))


@functools.cache
def inputs() -> tuple[Params, jax.Array]:
    x = jax.random.normal(jax.random.key(0), (ROWS, LENGTH, DENSE.text.width))
    seen = self_visibility(jnp.ones_like(POSITIONS), POSITIONS, causal=True)
    params = nn.unbox(jax.jit(Decoder(DENSE.text).init)(jax.random.key(1), x, POSITIONS, seen))["params"]
    return params, x


@functools.cache
def stored() -> tuple[jax.Array, Params]:
    return jax.jit(jax.value_and_grad(functools.partial(loss, "none")))(*inputs())


def test_every_policy_has_a_name() -> None:
    assert {*POLICIES, "none"} == set(get_args(Remat))


@pytest.mark.parametrize("on", [None, "8"], ids=["one device", "mesh"])
@pytest.mark.parametrize("remat", ["save_attention", "offload"])
def test_gradients_do_not_depend_on_what_is_stored(remat: Remat, on: str | None, figures) -> None:
    function = functools.partial(loss, remat)
    params, x = inputs()
    if on is not None:
        function = layout(on).inside(function)
        x = jax.device_put(x, layout(on).sharding(("batch", None, None), x.shape, "x"))
        params = jax.device_put(params, NamedSharding(layout(on).mesh, PartitionSpec()))
    traced = jax.jit(jax.value_and_grad(function)).trace(params, x)
    assert ("host" in str(traced.jaxpr)) == (remat == "offload")
    value, grads = traced.lower().compile()(params, x)
    np.testing.assert_allclose(value, stored()[0], rtol=1e-5)
    off = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), grads, stored()[1])
    figures(f"remat {remat}, mesh {on}: gradients, max rel diff", max(jax.tree.leaves(off)), 1e-5)


def test_unrolled_layers_have_no_loop_and_the_same_gradients(figures) -> None:
    traced = jax.jit(jax.value_and_grad(functools.partial(loss, "save_attention", unroll=True))).trace(*inputs())
    assert "while" not in traced.lower().as_text()
    value, grads = traced.lower().compile()(*inputs())
    np.testing.assert_allclose(value, stored()[0], rtol=1e-5)
    off = jax.tree.map(lambda a, b: float(np.abs(a - b).max() / np.abs(b).max()), grads, stored()[1])
    figures("unrolled layers: gradients, max rel diff", max(jax.tree.leaves(off)), 1e-5)
