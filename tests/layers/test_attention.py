"""Attention by device against the einsum reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.parallel.attention import mapped_attend, stepwise_attend

ROWS, HEADS, KV_HEADS, HEAD_DIM = 3, 6, 2, 8


def _inputs(new: int, slots: int) -> tuple[jax.Array, jax.Array, jax.Array, Visibility]:
    """Queries at the last `new` of `slots` positions; two segments a row and padding at either end."""
    rng = np.random.default_rng(0)
    q = rng.standard_normal((ROWS, new, HEADS, HEAD_DIM), dtype=np.float32)
    k, v = rng.standard_normal((2, ROWS, slots, KV_HEADS, HEAD_DIM), dtype=np.float32)
    segments = np.ones((ROWS, slots), np.int32)
    segments[0, :3], segments[1, : slots // 2], segments[2, -1:] = 0, 2, 0
    positions = np.broadcast_to(np.arange(slots, dtype=np.int32), segments.shape)
    visibility = Visibility(np.ones((ROWS, new), np.int32), segments, positions[:, -new:], positions)
    return jax.tree.map(jnp.asarray, (q, k, v, visibility))


@pytest.mark.parametrize("new", [1, 5])
@pytest.mark.parametrize("attend", [mapped_attend, stepwise_attend])
def test_equals_the_reference(attend, new, figures):
    inputs = _inputs(new, 12)
    worst = np.abs(np.asarray(attend(*inputs) - einsum_attend(*inputs))).max()
    figures(f"{attend.__name__}, {new} new positions, max abs diff", worst, 1e-6)


def test_gradients_equal_the_reference(figures):
    q, k, v, visibility = _inputs(12, 12)
    mapped, reference = (
        jax.grad(lambda x, attend=attend: (attend(*x, visibility) ** 2).sum())((q, k, v))
        for attend in (mapped_attend, einsum_attend)
    )
    worst = max(np.abs(np.asarray(a - b)).max() for a, b in zip(mapped, reference, strict=True))
    figures("mapped_attend, gradients, max abs diff", worst, 1e-5)
