"""Picking ids from logits (model.md section 9)."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Sampling:
    """How one stream picks its ids. Only `method` and `top_k` are static: the rest changes without a compilation.

    Attributes:
      method: "greedy" takes the likeliest id, "draw" draws one.
      top_k: draw among the k likeliest ids; 0 for all.
      temperature: logits are divided by it before a draw; above 0.
      top_p: draw among the fewest ids that together have this probability.
      repetition_penalty: applied once to every distinct id of the history, before anything else; 1 for none.
    """

    method: Literal["greedy", "draw"] = struct.field(pytree_node=False, default="greedy")
    top_k: int = struct.field(pytree_node=False, default=0)
    temperature: float | jax.Array = 1.0
    top_p: float | jax.Array = 1.0
    repetition_penalty: float | jax.Array = 1.0


GREEDY = Sampling()
# The release's default for spoken replies: text stays greedy, speech is drawn.
RELEASE_SPEECH = Sampling(method="draw", temperature=0.8, top_p=0.9, repetition_penalty=1.2)


def pick(logits: jax.Array, seen: jax.Array, keys: jax.Array, sampling: Sampling) -> jax.Array:
    """One id a row.

    Args:
      logits: float32 `[B, V]`.
      seen: bool `[B, V]`, ids of the history.
      keys: PRNG keys `[B]`, one a row, so that a row's draws do not depend on its batch.
      sampling: how to pick.

    Returns:
      int32 `[B]`.
    """
    penalty = sampling.repetition_penalty
    logits = jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)
    if sampling.method == "greedy":
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    logits = keep_top_p(keep_top_k(logits / sampling.temperature, sampling.top_k), sampling.top_p)
    return jax.vmap(jax.random.categorical)(keys, logits).astype(jnp.int32)


def keep_top_k(logits: jax.Array, k: int) -> jax.Array:
    """Hides all but the k highest of each row; k = 0 hides none."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    lowest = jax.lax.top_k(logits, k)[0][:, -1:]
    return jnp.where(logits < lowest, -jnp.inf, logits)


def keep_top_p(logits: jax.Array, p: float | jax.Array) -> jax.Array:
    """Hides the least likely ids of each row beyond probability p; the likeliest always stays."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probs = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    lowest = jnp.min(jnp.where(before < p, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < lowest, -jnp.inf, logits)


def mark(seen: jax.Array, ids: jax.Array, where: jax.Array) -> jax.Array:
    """Adds ids int32 `[B, ..]` to the history `seen` `[B, V]` where `where` (bool, shape of ids) holds."""
    rows = jnp.arange(seen.shape[0]).reshape(-1, *([1] * (ids.ndim - 1)))
    return seen.at[rows, jnp.where(where, ids, seen.shape[1])].set(True, mode="drop")
