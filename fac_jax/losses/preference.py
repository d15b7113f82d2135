"""Direct preference optimisation of replies in two streams (Rafailov et al. 2023; IPO: Azar et al. 2023; hinge: SLiC).

A pair is a chosen and a rejected reply to one prompt. Its margin is how much more the policy prefers the chosen reply
than the reference does, text and speech weighed apart:
`h = sum_w weight_w * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))`.
"""

from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
from flax import struct

from fac_jax.losses.cross_entropy import TokenLosses
from fac_jax.types import Array

PreferenceKind: TypeAlias = Literal["sigmoid", "ipo", "hinge"]


@struct.dataclass
class ReplyLogProbs:
    """Log-probabilities of replies, summed over their tokens, float32 `[.., 2]`: text, speech.

    Attributes:
      total: sums of log-probabilities in nats; 0 for a stream that a reply does not have.
      tokens: how many tokens each sum has.
    """

    total: Array
    tokens: Array


def conversation_log_probs(losses: TokenLosses, segment_ids: Array, segments: int) -> tuple[jax.Array, jax.Array]:
    """Sums of one stream over every conversation of every row.

    Args:
      losses: of the stream, `[B, T]`.
      segment_ids: int32 `[B, T]`; 0 is padding, 1 to `segments` are conversations.
      segments: most conversations of a row.

    Returns:
      log-probabilities and numbers of tokens, float32 `[B, segments]`.
    """
    member = (jnp.asarray(segment_ids)[..., None] == jnp.arange(1, segments + 1)).astype(jnp.float32)

    def over(values: jax.Array) -> jax.Array:
        return jnp.einsum("bt,btn->bn", values.astype(jnp.float32), member, precision="highest")

    return -over(losses.loss), over(losses.kept)


def margins(chosen: Array, rejected: Array, reference_chosen: Array, reference_rejected: Array) -> jax.Array:
    """How much more than the reference the policy prefers the chosen reply, stream by stream.

    Args:
      chosen: log-probabilities of the policy, float32 `[.., 2]` (`ReplyLogProbs.total`); the others alike.
    """
    return (jnp.asarray(chosen) - reference_chosen) - (jnp.asarray(rejected) - reference_rejected)


def preference_loss(h: Array, kind: PreferenceKind, beta: float, label_smoothing: float = 0.0) -> jax.Array:
    """Loss of every pair from its margin.

    Args:
      h: float32 `[..]`.
      kind: "sigmoid" `-log sigmoid(beta h)`, "ipo" `(h - 1 / (2 beta))^2`, "hinge" `max(0, 1 - beta h)`.
      beta: how strongly the policy is held to the reference.
      label_smoothing: share of pairs that are taken to be labelled the wrong way round.

    Returns:
      float32 `[..]`.
    """

    def loss(margin: jax.Array) -> jax.Array:
        match kind:
            case "sigmoid":
                return -jax.nn.log_sigmoid(beta * margin)
            case "ipo":
                return (margin - 1 / (2 * beta)) ** 2
            case "hinge":
                return jax.nn.relu(1 - beta * margin)

    h = jnp.asarray(h, jnp.float32)
    return (1 - label_smoothing) * loss(h) + label_smoothing * loss(-h)
