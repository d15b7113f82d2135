"""Attention by device: the same numbers as `einsum_attend`, in the form that a device runs fast."""

from collections.abc import Mapping
from typing import Final

import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax.layers.attention import Attend, Visibility, einsum_attend, masked_softmax


def mapped_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """One (sample, kv head) at a time, recomputed in the backward pass.

    XLA's CPU backend runs the grouped einsums of the reference at a fraction of a plain matrix product; a map over
    samples and kv heads gives it plain products and keeps one `[g * T, T']` score matrix alive instead of all.
    """
    heads = k.shape[2]
    grouped = rearrange(q, "b t (k g) h -> (b k) g t h", k=heads)
    keys, values = rearrange(k, "b s k h -> (b k) s h"), rearrange(v, "b s k h -> (b k) s h")
    masks = jnp.repeat(visibility.mask(), heads, axis=0)

    @jax.checkpoint
    def one(inputs: tuple[jax.Array, jax.Array, jax.Array, jax.Array]) -> jax.Array:
        q, k, v, mask = inputs
        rows = rearrange(q, "g t h -> (g t) h")
        scores = rearrange(jnp.matmul(rows, k.T, preferred_element_type=jnp.float32), "(g t) s -> g t s", g=q.shape[0])
        weights = masked_softmax(scores * q.shape[-1] ** -0.5, mask[None]).astype(v.dtype)
        return rearrange(rearrange(weights, "g t s -> (g t) s") @ v, "(g t) h -> g t h", g=q.shape[0])

    out = jax.lax.map(one, (grouped, keys, values, masks))
    return rearrange(out, "(b k) g t h -> b t (k g) h", k=heads)


def stepwise_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """A single new position (a step of decoding) by matrix-vector products alone; more than one as `mapped_attend`.

    XLA's CPU backend transposes a copy of the whole cache for the einsums of the reference. A batch of products of
    one (sample, kv head)'s `[T', H]` with one vector it runs in place, if the cache stores them so (`KVCache`).
    """
    if q.shape[1] > 1:
        return mapped_attend(q, k, v, visibility)
    heads = k.shape[2]
    keys, values = rearrange(k, "b s k h -> (b k) s h"), rearrange(v, "b s k h -> (b k) s h")
    mask = jnp.repeat(visibility.mask()[:, 0], heads, axis=0)

    def one(q: jax.Array) -> jax.Array:
        scores = jnp.einsum("nh,nsh->ns", q, keys, preferred_element_type=jnp.float32)
        weights = masked_softmax(scores * q.shape[-1] ** -0.5, mask).astype(v.dtype)
        return jnp.einsum("ns,nsh->nh", weights, values)

    out = jnp.stack([one(q) for q in rearrange(q, "b 1 (k g) h -> g (b k) h", k=heads)])
    return rearrange(out, "g (b k) h -> b 1 (k g) h", k=heads)


# What each backend uses; `einsum_attend` is the reference that all are tested against.
TRAINING: Final[Mapping[str, Attend]] = {"cpu": mapped_attend, "gpu": einsum_attend, "tpu": einsum_attend}
DECODING: Final[Mapping[str, Attend]] = {"cpu": stepwise_attend, "gpu": einsum_attend, "tpu": einsum_attend}


def training_attend() -> Attend:
    """Attention for training on the default backend."""
    return TRAINING[jax.default_backend()]


def decoding_attend() -> Attend:
    """Attention for generation on the default backend."""
    return DECODING[jax.default_backend()]
