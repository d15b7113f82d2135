"""Hand-written backward passes against automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.linear import product
from fac_jax.layers.mlp import gated, gelu

PLAIN = {
    product: jnp.matmul,
    gated: lambda gate, up: jax.nn.silu(gate) * up,
    gelu: lambda x: jax.nn.gelu(x, approximate=False),
}
SHAPES = {product: ((2, 3, 5), (5, 4)), gated: ((2, 3, 5), (2, 3, 5)), gelu: ((2, 3, 5),)}


@pytest.mark.parametrize("function", PLAIN, ids=lambda function: function.__name__)
def test_gradients_are_those_of_automatic_differentiation(function, figures):
    keys = jax.random.split(jax.random.key(0), 3)
    inputs = [3 * jax.random.normal(key, shape) for key, shape in zip(keys, SHAPES[function], strict=False)]
    back = jax.random.normal(keys[2], PLAIN[function](*inputs).shape)

    def pulled(f):
        out, pull = jax.vjp(f, *inputs)
        return out, *pull(back)

    with jax.default_matmul_precision("highest"):
        pairs = zip(pulled(function), pulled(PLAIN[function]), strict=True)
        worst = max(np.abs(np.asarray(ours - plain)).max() for ours, plain in pairs)
    figures(f"{function.__name__}, output and gradients, max abs diff", worst, 2e-6)


@pytest.mark.parametrize("function", PLAIN, ids=lambda function: function.__name__)
def test_gradients_keep_the_dtype(function):
    inputs = [jnp.ones(shape, jnp.bfloat16) for shape in SHAPES[function]]
    out, pull = jax.vjp(function, *inputs)
    assert {leaf.dtype for leaf in (out, *pull(out))} == {jnp.dtype("bfloat16")}
