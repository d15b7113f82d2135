"""Picking ids from logits (docs/model.md, section 9)."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int, Key

from fac_jax.types import Array, InputError


@struct.dataclass
class Sampling:
    """How one stream picks its ids. Only `method` and `top_k` are static: the rest changes without a compilation.

    Attributes:
      method: "greedy" takes the likeliest id, "draw" draws one.
      top_k: draw among the k likeliest ids; 0 for all.
      temperature: logits are divided by it before a draw; 0 takes the likeliest id.
      top_p: draw among the fewest ids that together have this probability; 0 leaves the likeliest.
      repetition_penalty: applied once to every distinct id of the history, before anything else; 1 for none.

    Raises:
      InputError: a value from which no id can be picked.
    """

    method: Literal["greedy", "draw"] = struct.field(pytree_node=False, default="greedy")
    top_k: int = struct.field(pytree_node=False, default=0)
    temperature: float | jax.Array = 1.0
    top_p: float | jax.Array = 1.0
    repetition_penalty: float | jax.Array = 1.0

    def __post_init__(self) -> None:
        _check("top_k", self.top_k, lambda k: k >= 0, "0 or more")
        _check("temperature", self.temperature, lambda t: 0 <= t < math.inf, "0 or a finite number above 0")
        _check("top_p", self.top_p, lambda p: 0 <= p <= 1, "a probability, from 0 to 1")
        _check("repetition_penalty", self.repetition_penalty, lambda r: 0 < r < math.inf, "a finite number above 0")


def _check(name: str, value: object, holds: Callable[[float], bool], wanted: str) -> None:
    """Refuses a number that does not hold; arrays of a compiled program have no value to look at."""
    if isinstance(value, int | float) and not holds(value):
        raise InputError(f"sampling: {name} is {value}; give {wanted}")


GREEDY = Sampling()


def fold(keys: Key[jax.Array, " B"], data: Int[jax.Array, ""] | int) -> Key[jax.Array, " B"]:
    """Derives a key for each sample from its key and a number."""
    return jax.vmap(lambda key: jax.random.fold_in(key, data))(keys)


def pick(
    logits: Float[jax.Array, "B V"], seen: Bool[jax.Array, "B V"], keys: Key[jax.Array, " B"], sampling: Sampling
) -> Int[jax.Array, " B"]:
    """Picks one id for every row of float32 logits.

    `seen` marks the ids of the history. Every row has a key, so that its draws do not depend on its batch.
    """
    penalty = sampling.repetition_penalty
    logits = jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)
    likeliest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if sampling.method == "greedy":
        return likeliest
    cold = jnp.asarray(sampling.temperature) == 0
    warm = logits / jnp.where(cold, 1.0, sampling.temperature)
    kept = keep_top_p(keep_top_k(warm, sampling.top_k), sampling.top_p)
    return jnp.where(cold, likeliest, jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32))


def keep_top_k(logits: Float[jax.Array, "B V"], k: int) -> Float[jax.Array, "B V"]:
    """Hides all but the k highest logits of each row; k = 0 hides none."""
    if k == 0 or k >= logits.shape[-1]:
        return logits
    lowest = jax.lax.top_k(logits, k)[0][:, -1:]
    return jnp.where(logits < lowest, -jnp.inf, logits)


def keep_top_p(logits: Float[jax.Array, "B V"], p: float | Float[jax.Array, ""]) -> Float[jax.Array, "B V"]:
    """Hides the least likely ids of each row beyond probability p; the likeliest always stays."""
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probs = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    kept = (before < p) | (jnp.arange(logits.shape[-1]) == 0)
    lowest = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < lowest, -jnp.inf, logits)


def mark(seen: Bool[jax.Array, "B V"], ids: Int[Array, "B ..."], where: Bool[Array, "B ..."]) -> Bool[jax.Array, "B V"]:
    """Adds the ids that `where` marks to the history `seen`."""
    rows = jnp.arange(seen.shape[0]).reshape(-1, *([1] * (ids.ndim - 1)))
    return seen.at[rows, jnp.where(where, ids, seen.shape[1])].set(True, mode="drop")
