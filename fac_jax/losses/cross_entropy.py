"""Labels of positions and their cross-entropy, for vocabularies too big to hold `[B, S, V]` logits in float32."""

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
    softmax and losses are float32. Leading axes stay whole: a sharded batch axis stays sharded.

    Args:
      unembedding: read in the dtype of `hidden`.
      labels: int32; IGNORE carries no loss.
      dtype: dtype of the logits.
    """
    table = jnp.asarray(unembedding).astype(hidden.dtype)

    def losses(part: tuple[jax.Array, jax.Array]) -> TokenLosses:
        h, y = part
        return token_losses(jnp.einsum("...d,vd->...v", h, table, preferred_element_type=dtype), y)

    size = labels.shape[-1]
    if size <= chunk:
        return losses((jnp.asarray(hidden), jnp.asarray(labels)))

    lead, count = labels.shape[:-1], -(-size // chunk)
    pad = [(0, 0)] * len(lead) + [(0, count * chunk - size)]
    hidden = jnp.pad(hidden, [*pad, (0, 0)]).reshape(*lead, count, chunk, hidden.shape[-1])
    labels = jnp.pad(labels, pad, constant_values=IGNORE).reshape(*lead, count, chunk)
    parts = jax.lax.map(jax.checkpoint(losses), (jnp.moveaxis(hidden, -3, 0), jnp.moveaxis(labels, -2, 0)))
    whole = jax.tree.map(lambda x: jnp.moveaxis(x, 0, -2).reshape(*lead, count * chunk), parts)
    return jax.tree.map(lambda x: x[..., :size], whole)
