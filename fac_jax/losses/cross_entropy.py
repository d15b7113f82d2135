"""Cross-entropy of tokens, for vocabularies too big to hold `[B, S, V]` logits in float32."""

import jax
import jax.numpy as jnp
from flax import struct

from fac_jax.types import IGNORE, Array


@struct.dataclass
class TokenSums:
    """Sums over the kept labels, float32 scalars.

    Attributes:
      loss: cross-entropy in nats.
      count: number of kept labels.
      correct: how many of them have the greatest logit.
    """

    loss: jax.Array
    count: jax.Array
    correct: jax.Array

    def mean(self) -> jax.Array:
        """Mean cross-entropy, 0 when there is no label."""
        return self.loss / jnp.maximum(self.count, 1.0)

    def accuracy(self) -> jax.Array:
        """Share of labels predicted right, 0 when there is no label."""
        return self.correct / jnp.maximum(self.count, 1.0)


def token_cross_entropy(logits: Array, labels: Array) -> TokenSums:
    """Cross-entropy of every position against its own label (model.md section 7).

    Args:
      logits: float `[.., V]`, taken to float32.
      labels: int32 `[..]`; IGNORE carries no loss.
    """
    logits = jnp.asarray(logits, jnp.float32)
    labels = jnp.asarray(labels)
    keep = labels != IGNORE
    target = jnp.where(keep, labels, 0)[..., None]
    picked = jnp.take_along_axis(logits, target, axis=-1)[..., 0]
    loss = jax.nn.logsumexp(logits, axis=-1) - picked
    right = jnp.argmax(logits, axis=-1) == labels
    return TokenSums(
        loss=jnp.sum(jnp.where(keep, loss, 0.0)),
        count=jnp.sum(keep, dtype=jnp.float32),
        correct=jnp.sum(keep & right, dtype=jnp.float32),
    )


def chunked_cross_entropy(hidden: Array, unembedding: Array, labels: Array, chunk: int) -> TokenSums:
    """Cross-entropy of `hidden @ unembedding.T`, `chunk` positions at a time.

    Logits are made in float32 for one chunk only, in the forward and (made again) in the backward pass, so memory is
    `[.., chunk, V]`. Leading axes stay whole: a sharded batch axis stays sharded.

    Args:
      hidden: `[.., S, D]`.
      unembedding: `[V, D]`, read in the dtype of `hidden`.
      labels: int32 `[.., S]`; IGNORE carries no loss.
      chunk: positions of the S axis that are handled at once.
    """
    table = jnp.asarray(unembedding).astype(hidden.dtype)

    def sums(h: jax.Array, y: jax.Array) -> TokenSums:
        logits = jnp.einsum("...d,vd->...v", h, table, preferred_element_type=jnp.float32)
        return token_cross_entropy(logits, y)

    size = labels.shape[-1]
    if size <= chunk:
        return sums(jnp.asarray(hidden), jnp.asarray(labels))

    lead, count = labels.shape[:-1], -(-size // chunk)
    pad = [(0, 0)] * len(lead) + [(0, count * chunk - size)]
    hidden = jnp.pad(hidden, [*pad, (0, 0)]).reshape(*lead, count, chunk, hidden.shape[-1])
    labels = jnp.pad(labels, pad, constant_values=IGNORE).reshape(*lead, count, chunk)

    def add(total: TokenSums, part: tuple[jax.Array, jax.Array]) -> tuple[TokenSums, None]:
        return jax.tree.map(jnp.add, total, sums(*part)), None

    zero = TokenSums(*(jnp.zeros((), jnp.float32) for _ in range(3)))
    parts = (jnp.moveaxis(hidden, -3, 0), jnp.moveaxis(labels, -2, 0))
    return jax.lax.scan(jax.checkpoint(add), zero, parts)[0]
