"""Attention for XLA's CPU backend: one key head at a time, by plain products of a block of queries with its keys.

The backend runs the grouped einsums of the reference at a fraction of a plain matrix product, and moves whole score
matrices through memory. Here the scores of a block are small enough for a cache, a causal block leaves out the keys
behind it, and the backward pass has its own form: it keeps the log-sum-exp of every query instead of weights, and works
on transposed scores, so that no block of scores is ever transposed.
"""

import functools
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from einops import rearrange, repeat
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float, Int

from fac_jax.layers.attention import HIDDEN, Limits, Visibility
from fac_jax.layers.stack import ATTENTION
from fac_jax.types import Array

QUERIES: Final = 128  # least queries of a block
BLOCKS: Final = 8  # most blocks of a row: every one is compiled by itself

Gradients: TypeAlias = tuple[jax.Array, jax.Array, jax.Array]


class Head(NamedTuple):
    """What one key head of one row sees: its G query heads, keys, values, and `Visibility` by position."""

    q: Float[jax.Array, "G T H"]
    k: Float[jax.Array, "S H"]
    v: Float[jax.Array, "S H"]
    q_segments: Int[jax.Array, " T"]
    k_segments: Int[jax.Array, " S"]
    q_positions: Int[jax.Array, " T"]
    k_positions: Int[jax.Array, " S"]


class Block(NamedTuple):
    """Queries from `begin` to `end`, and the number of keys that they may see, from the first on."""

    begin: int
    end: int
    keys: int


def blocked_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """Attends as `layers.attention.einsum_attend` does, except that the output is 0 where a query sees no key.

    In a row that attends causally to itself, the conversations stand one behind the other, each in the order of its
    positions, so that no query sees a key behind it.
    """
    heads = k.shape[2]
    places = (getattr(visibility, name) for name in Head._fields[3:])
    head = Head(
        rearrange(q, "b t (k g) h -> (b k) g t h", k=heads),
        rearrange(k, "b s k h -> (b k) s h"),
        rearrange(v, "b s k h -> (b k) s h"),
        *(repeat(jnp.asarray(each), "b t -> (b k) t", k=heads) for each in places),
    )
    return rearrange(_attend(visibility.limits, head), "(b k) g t h -> b t (k g) h", k=heads)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(limits: Limits, heads: Head) -> jax.Array:
    return _forward(limits, heads)[0]


def _forward(limits: Limits, heads: Head) -> tuple[jax.Array, tuple[Head, jax.Array, jax.Array]]:
    def one(head: Head) -> tuple[jax.Array, jax.Array]:
        parts = [_attended(head, block, limits) for block in _blocks(head, limits)]
        out, normalizer = (jnp.concatenate(part, axis=1) for part in zip(*parts, strict=True))
        return out, normalizer

    out, normalizer = (checkpoint_name(each, ATTENTION) for each in jax.lax.map(one, heads))
    return out, (heads, out, normalizer)


def _backward(limits: Limits, saved: tuple[Head, jax.Array, jax.Array], grads: jax.Array) -> tuple[Head]:
    def one(inputs: tuple[Head, jax.Array, jax.Array, jax.Array]) -> Gradients:
        head, out, normalizer, back = inputs
        # The gradient of a score is its weight times what its value gives beyond this mean over the values.
        mean = jnp.sum(out.astype(jnp.float32) * back.astype(jnp.float32), axis=-1)
        queries, keys, values = [], jnp.zeros(head.k.shape, jnp.float32), jnp.zeros(head.v.shape, jnp.float32)
        for block in _blocks(head, limits):
            dq, dk, dv = _pulled(head, block, limits, normalizer, mean, back)
            queries.append(dq)
            keys, values = keys.at[: block.keys].add(dk), values.at[: block.keys].add(dv)
        dtypes = (head.q.dtype, head.k.dtype, head.v.dtype)
        q, k, v = (x.astype(d) for x, d in zip((jnp.concatenate(queries, axis=1), keys, values), dtypes, strict=True))
        return q, k, v

    heads, *rest = saved
    return (Head(*jax.lax.map(one, (heads, *rest, grads)), *(None,) * 4),)  # pyright: ignore[reportArgumentType]


_attend.defvjp(_forward, _backward)


def _blocks(head: Head, limits: Limits) -> Iterator[Block]:
    """Yields the blocks of a row that attends causally to itself; one block with all keys for any other row."""
    queries, keys = head.q.shape[1], len(head.k)
    if not limits.causal or limits.block > 1 or queries != keys:
        yield Block(0, queries, keys)
        return
    size = max(QUERIES, -(-queries // BLOCKS))
    for begin in range(0, queries, size):
        end = min(begin + size, queries)
        yield Block(begin, end, end)


def _seen(head: Head, block: Block, limits: Limits) -> Bool[Array, "s t"]:
    """Returns which keys (rows) the queries (columns) of a block see."""
    own = head.k_segments[: block.keys, None]
    seen = (own == head.q_segments[None, block.begin : block.end]) & (own > 0)
    return limits.narrow(seen, head.q_positions[None, block.begin : block.end], head.k_positions[: block.keys, None])


def _rows(array: jax.Array, block: Block) -> jax.Array:
    """Cuts the queries of a block and puts those of all query heads below each other."""
    return rearrange(array[:, block.begin : block.end], "g t ... -> (g t) ...")


def _attended(head: Head, block: Block, limits: Limits) -> tuple[jax.Array, jax.Array]:
    """Outputs `[G, t, H]` of a block, and the log-sum-exp `[G, t]` of its scores."""
    group, _, width = head.q.shape
    scores = jnp.matmul(_rows(head.q, block), head.k[: block.keys].T, preferred_element_type=jnp.float32)
    seen = jnp.tile(_seen(head, block, limits).T, (group, 1))
    scores = jnp.where(seen, scores * width**-0.5, HIDDEN)
    most = jnp.max(scores, axis=-1, keepdims=True)
    weights = jnp.exp(scores - most)
    total = jnp.sum(weights, axis=-1, keepdims=True)
    some = most > HIDDEN / 2
    out = (weights * jnp.where(some, 1 / total, 0)).astype(head.v.dtype) @ head.v[: block.keys]
    normalizer = (most + jnp.log(total))[:, 0]
    return rearrange(out, "(g t) h -> g t h", g=group), rearrange(normalizer, "(g t) -> g t", g=group)


def _pulled(
    head: Head, block: Block, limits: Limits, normalizer: jax.Array, mean: jax.Array, back: jax.Array
) -> Gradients:
    """Float32 gradients of the queries of a block `[G, t, H]`, and its parts of those of its keys and values."""
    group, _, width = head.q.shape
    scale = width**-0.5
    queries, grads, keys, values = (
        _rows(head.q, block),
        _rows(back, block),
        head.k[: block.keys],
        head.v[: block.keys],
    )
    product = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    seen = jnp.tile(_seen(head, block, limits), (1, group))
    weights = jnp.where(seen, jnp.exp(product(keys, queries.T) * scale - _rows(normalizer, block)), 0)
    scores = (weights * (product(values, grads.T) - _rows(mean, block)) * scale).astype(queries.dtype)
    dq = rearrange(product(keys.T, scores), "h (g t) -> g t h", g=group)
    return dq, product(scores, queries), product(weights.astype(grads.dtype), grads)
