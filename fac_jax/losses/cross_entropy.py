"""Labels of positions and their cross-entropy, for vocabularies too big to hold `[B, S, V]` logits in float32."""

import functools
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int

from fac_jax.types import IGNORE, Array


@struct.dataclass
class TokenLosses:
    """Losses of single positions; 0 or False where there is no label.

    Attributes:
      loss: cross-entropy float32, in nats.
      kept: bool, whether there is a label.
      correct: bool, whether the label has the greatest logit.
    """

    loss: Float[jax.Array, "*rows"]
    kept: Bool[jax.Array, "*rows"]
    correct: Bool[jax.Array, "*rows"]


def next_labels(labels: Int[Array, "B S *G"], segment_ids: Int[Array, "B S"]) -> Int[jax.Array, "B S *G"]:
    """Shifts labels by one LLM position: each position predicts the label of the next one in its segment.

    Labels are int32; those of the last position of a segment are IGNORE.
    """
    inside = jnp.pad(segment_ids[:, 1:] == segment_ids[:, :-1], ((0, 0), (0, 1)))
    inside = inside.reshape(*inside.shape, *(1,) * (labels.ndim - 2))
    return jnp.where(inside, jnp.roll(labels, -1, axis=1), IGNORE)


def token_losses(logits: Float[Array, "*rows V"], labels: Int[Array, "*rows"]) -> TokenLosses:
    """Computes the cross-entropy of every position against its own label, in float32; IGNORE carries no loss."""
    logits = jnp.asarray(logits, jnp.float32)
    labels = jnp.asarray(labels)
    keep = labels != IGNORE
    target = jnp.where(keep, labels, 0)[..., None]
    picked = jnp.take_along_axis(logits, target, axis=-1)[..., 0]
    loss = jax.nn.logsumexp(logits, axis=-1) - picked
    right = jnp.argmax(logits, axis=-1) == labels
    return TokenLosses(loss=jnp.where(keep, loss, 0.0), kept=keep, correct=keep & right)


def chunked_token_losses(
    hidden: Float[Array, "*rows S D"],
    unembedding: Float[Array, "V D"],
    labels: Int[Array, "*rows S"],
    chunk: int,
    dtype: str = "float32",
) -> TokenLosses:
    """Computes the cross-entropy of `hidden @ unembedding.T` at every position, `chunk` positions at a time.

    Logits exist for one chunk at a time, and are computed again in the backward pass, so memory is `[.., chunk, V]`;
    softmax and losses are float32. The gradients of the logits are multiplied in the dtype of `hidden`, and those of
    the unembedding are summed over chunks in float32. Leading axes stay whole: a sharded batch axis stays sharded.

    Args:
      unembedding: read in the dtype of `hidden`.
      labels: int32; IGNORE carries no loss.
      dtype: dtype of the logits.
    """
    hidden, unembedding, labels = jnp.asarray(hidden), jnp.asarray(unembedding), jnp.asarray(labels)
    if labels.shape[-1] <= chunk:
        return token_losses(_logits(hidden, unembedding.astype(hidden.dtype), dtype), labels)
    return _in_chunks(chunk, dtype, hidden, unembedding, labels)


def _logits(hidden: jax.Array, table: jax.Array, dtype: str) -> jax.Array:
    return jnp.einsum("...d,vd->...v", hidden, table, preferred_element_type=dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _in_chunks(chunk: int, dtype: str, hidden: jax.Array, unembedding: jax.Array, labels: jax.Array) -> TokenLosses:
    return _forward(chunk, dtype, hidden, unembedding, labels)[0]


Saved: TypeAlias = tuple[jax.Array, jax.Array, jax.Array, jax.Array]  # hidden, unembedding, labels, log-sum-exp


def _forward(
    chunk: int, dtype: str, hidden: jax.Array, unembedding: jax.Array, labels: jax.Array
) -> tuple[TokenLosses, Saved]:
    table = unembedding.astype(hidden.dtype)

    def losses(part: tuple[jax.Array, jax.Array]) -> tuple[TokenLosses, jax.Array]:
        logits = _logits(part[0], table, dtype)
        return token_losses(logits, part[1]), jax.nn.logsumexp(logits.astype(jnp.float32), axis=-1)

    parts = _cut(hidden, chunk, axis=-2), _cut(labels, chunk, axis=-1, fill=IGNORE)
    joined = (_joined(part, labels.shape) for part in jax.tree.leaves(jax.lax.map(losses, parts)))
    *found, normalizer = joined
    return TokenLosses(*found), (hidden, unembedding, labels, normalizer)


def _backward(chunk: int, dtype: str, saved: Saved, grads: TokenLosses) -> tuple[jax.Array, jax.Array, None]:
    """The logits' gradient is softmax minus one at the label, times that of the loss."""
    hidden, unembedding, labels, normalizer = saved
    table = unembedding.astype(hidden.dtype)
    weights = jnp.where(labels == IGNORE, 0.0, grads.loss)

    def one(total: jax.Array, part: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        h, y, z, weight = part
        softmax = jnp.exp(_logits(h, table, dtype).astype(jnp.float32) - z[..., None])
        right = y[..., None] == jnp.arange(table.shape[0])
        back = ((softmax - right) * weight[..., None]).astype(h.dtype)
        rows = tuple(range(back.ndim - 1))
        total += jnp.tensordot(back, h, (rows, rows), preferred_element_type=jnp.float32)
        return total, jnp.einsum("...v,vd->...d", back, table)

    parts = (
        _cut(hidden, chunk, axis=-2),
        _cut(labels, chunk, axis=-1, fill=IGNORE),
        *(_cut(each, chunk, axis=-1) for each in (normalizer, weights)),
    )
    total, back = jax.lax.scan(one, jnp.zeros(unembedding.shape, jnp.float32), parts)
    return _joined(back, hidden.shape, axis=-2), total.astype(unembedding.dtype), None


_in_chunks.defvjp(_forward, _backward)


def _cut(array: jax.Array, chunk: int, axis: int, fill: int = 0) -> jax.Array:
    """Cuts an axis, counted from the end, into chunks, which come first; the last is filled up."""
    size, at = array.shape[axis], array.ndim + axis
    count = -(-size // chunk)
    padded = jnp.pad(array, [(0, (count * chunk - size) * (i == at)) for i in range(array.ndim)], constant_values=fill)
    return jnp.moveaxis(padded.reshape(*array.shape[:at], count, chunk, *array.shape[at + 1 :]), at, 0)


def _joined(parts: jax.Array, shape: tuple[int, ...], axis: int = -1) -> jax.Array:
    """Undoes `_cut`."""
    at = len(shape) + axis
    whole = jnp.moveaxis(parts, 0, at)
    whole = whole.reshape(*shape[:at], -1, *shape[at + 1 :])
    return jax.lax.slice_in_dim(whole, 0, shape[at], axis=at)
