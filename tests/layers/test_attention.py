"""Attention by device against the einsum reference."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.parallel.attention import stepwise_attend
from fac_jax.parallel.blocked import BLOCKS, QUERIES, blocked_attend

NAMES = ("output", "dq", "dk", "dv")
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
@pytest.mark.parametrize("attend", [blocked_attend, stepwise_attend])
def test_equals_the_reference(attend, new, figures):
    inputs = _inputs(new, 12)
    worst = np.abs(np.asarray(attend(*inputs) - einsum_attend(*inputs))).max()
    figures(f"{attend.__name__}, {new} new positions, max abs diff", worst, 1e-6)


@pytest.mark.parametrize("new, prefixes", [(1, (128, 257)), (5, (257, 515))], ids=["step", "prompt"])
@pytest.mark.parametrize("filled", [5, 128, 129, 256, 257, 515, 516, 1024])
def test_of_a_long_cache_nothing_is_read_behind_what_is_seen(filled, new, prefixes):
    """Rows of different lengths; what no row sees may be anything, since attention does not read so far."""
    places, rng = 1030, np.random.default_rng(filled)
    q = rng.standard_normal((ROWS, new, HEADS, HEAD_DIM), dtype=np.float32)
    k, v = rng.standard_normal((2, ROWS, places, KV_HEADS, HEAD_DIM), dtype=np.float32)
    lengths = np.maximum(filled - np.arange(ROWS, dtype=np.int32) * 300, new)[:, None]
    there = np.broadcast_to(np.arange(places, dtype=np.int32), (ROWS, places))
    own = lengths - new + np.arange(new, dtype=np.int32)
    visibility = Visibility(np.ones_like(own), (there < lengths).astype(np.int32), own, there)
    inputs = jax.tree.map(jnp.asarray, (q, k, v, visibility))
    expected = einsum_attend(*inputs)
    behind = next((size for size in prefixes if filled <= size), places)
    for array in (k, v):
        array[:, behind:] = np.nan
    found = jax.jit(stepwise_attend)(*jax.tree.map(jnp.asarray, (q, k, v, visibility)))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def _packed_row(length: int) -> tuple[jax.Array, jax.Array, jax.Array, Visibility]:
    """A row of two conversations and padding that attends to itself."""
    rng = np.random.default_rng(0)
    q = rng.standard_normal((1, length, HEADS, HEAD_DIM), dtype=np.float32)
    k, v = rng.standard_normal((2, 1, length, KV_HEADS, HEAD_DIM), dtype=np.float32)
    sizes = (length // 3, length // 2, length - length // 3 - length // 2)
    segments = np.repeat(np.array([1, 2, 0], np.int32), sizes)[None]
    positions = np.concatenate([np.arange(size, dtype=np.int32) for size in sizes])[None]
    visibility = Visibility(segments, segments, positions, positions)
    return jax.tree.map(jnp.asarray, (q, k, v, visibility))


def _check_blocked(q, k, v, visibility, figures, what):
    """Compares the blocked kernel with the reference, with its gradients, where the rows are not padding."""
    real = (visibility.q_segments > 0)[..., None, None]

    def values(attend):
        def loss(x):
            out = jnp.where(real, attend(*x, visibility), 0)
            return (out**2).sum(), out

        grads, out = jax.jit(jax.grad(loss, has_aux=True))((q, k, v))
        return jax.tree.map(np.asarray, (out, *grads))

    for name, ours, exact in zip(NAMES, values(blocked_attend), values(einsum_attend), strict=True):
        apart = np.abs(ours - exact).max() / np.abs(exact).max()
        figures(f"blocked_attend, {what}, {name}, relative to the greatest", apart, 2e-6)


@pytest.mark.parametrize("length", [12, QUERIES + 1, QUERIES * BLOCKS + 9], ids=["one block", "two", "all"])
def test_blocks_of_a_packed_row_equal_the_reference(length, figures):
    _check_blocked(*_packed_row(length), figures, f"{length} positions")


LIMITS = {"window": {"sinks": 3, "window": 7}, "blocks": {"block": 10}, "both": {"sinks": 2, "window": 20, "block": 4}}


def _sees(visibility, row, query, key):
    """Whether a query sees a key, by the definition."""
    s = visibility
    segment, q, k = s.k_segments[row, key], s.q_positions[row, query], s.k_positions[row, key]
    near = not s.window or k < s.sinks or q - k < s.window
    return segment > 0 and segment == s.q_segments[row, query] and k // s.block <= q // s.block and near


@pytest.mark.parametrize("limits", LIMITS)
def test_a_mask_is_what_its_definition_says(limits):
    visibility = jax.device_get(dataclasses.replace(_packed_row(50)[3], **LIMITS[limits]))
    wanted = np.array([[_sees(visibility, 0, query, key) for key in range(50)] for query in range(50)])
    np.testing.assert_array_equal(visibility.mask()[0], wanted)
    assert np.any(wanted != dataclasses.replace(visibility, window=0, block=1).mask()[0])


@pytest.mark.parametrize("limits", LIMITS)
def test_windows_and_blocks_on_a_cpu_equal_the_reference(limits, figures):
    *tensors, visibility = _packed_row(QUERIES + 40)
    _check_blocked(*tensors, dataclasses.replace(visibility, **LIMITS[limits]), figures, limits)


def test_a_ring_of_keys_is_read_by_positions(figures):
    """The last position of a long row on a cache whose places hold its sinks and, in any order, its last positions."""
    q, k, v, visibility = _packed_row(60)
    ones = jnp.ones((1, 60), int)
    positions = jnp.arange(60)[None] + jnp.where(jnp.arange(60) < 4, 0, 30000)
    seen = Visibility(ones[:, -1:], ones, positions[:, -1:], positions, sinks=4, window=16)
    ring = np.concatenate([np.arange(4), np.roll(np.arange(60 - 16, 60), 5), [9]])  # the last place is not used
    there = jnp.asarray(ring != 9, int)[None]
    narrow = Visibility(ones[:, -1:], there, positions[:, -1:], positions[:, ring], sinks=4, window=16)
    ours = stepwise_attend(q[:, -1:], k[:, ring], v[:, ring], narrow)
    figures("a ring with sinks, max abs diff", np.abs(ours - einsum_attend(q[:, -1:], k, v, seen)).max(), 1e-6)


def test_blocks_give_padding_nothing():
    q, k, v, visibility = _packed_row(QUERIES + 20)
    out, pull = jax.vjp(lambda q, k, v: blocked_attend(q, k, v, visibility), q, k, v)
    padding = np.asarray(visibility.q_segments[0] == 0)
    assert not np.asarray(out)[0, padding].any()
    dq, dk, dv = (np.asarray(grads) for grads in pull(jnp.ones_like(out)))
    assert not any(grads[0, padding].any() for grads in (dq, dk, dv))
    assert dv[0, ~padding].any()
