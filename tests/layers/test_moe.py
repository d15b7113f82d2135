"""Mixture of experts: no sum has a free order (tests/parallel/test_mesh_kernels.py has its values)."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.moe import ExpertKernels, SortedExperts, inverse_of, permuted

TOKENS, WIDTH, HIDDEN, EXPERTS, PICKS = 12, 6, 5, 4, 3


@pytest.fixture(scope="module")
def inputs() -> tuple[jax.Array, jax.Array, jax.Array, ExpertKernels]:
    rng = np.random.default_rng(0)
    x, gate, up, down = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in (
            (2, TOKENS // 2, WIDTH),
            *[(EXPERTS, WIDTH, HIDDEN)] * 2,
            (EXPERTS, HIDDEN, WIDTH),
        )
    )
    picks = np.stack([rng.permutation(EXPERTS)[:PICKS] for _ in range(TOKENS)]).reshape(2, -1, PICKS)
    weights = jnp.asarray(rng.random(picks.shape), jnp.float32)
    return x, jnp.asarray(picks, jnp.int32), weights, ExpertKernels(gate, up, down)


def test_no_sum_of_numbers_has_a_free_order(inputs) -> None:
    """A scatter that adds is a row of atomic operations on a GPU; whole numbers add up the same in any order."""
    x, picks, weights, kernels = inputs
    grads = jax.grad(lambda *inputs: jnp.sum(SortedExperts()(inputs[0], picks, *inputs[1:])), (0, 1, 2))
    program = str(jax.make_jaxpr(grads)(x, weights, kernels))
    assert "scatter-add" in program  # the tokens of every expert are counted
    assert not re.search(r"f32\[[\d,]*\] = scatter-add", program)


def test_the_gradient_of_a_permutation_is_permuted_back() -> None:
    order = jnp.asarray([2, 0, 3, 1])
    inverse = inverse_of(order)
    assert inverse.tolist() == [1, 3, 0, 2]
    rows = jnp.arange(8.0).reshape(4, 2)
    out, back = jax.vjp(lambda rows: permuted(rows, order, inverse), rows)
    np.testing.assert_array_equal(out, rows[order])
    np.testing.assert_array_equal(back(out)[0], rows)
