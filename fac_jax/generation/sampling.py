"""Picking ids from logits (docs/model.md, section 9)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int, Key

from fac_jax.types import Array, InputError


@struct.dataclass
class Sampling:
    """How a stream picks its ids; the values are numbers, or arrays with one for each sample `[B]`.

    Attributes:
      temperature: logits are divided by it before a draw; 0 takes the likeliest id.
      top_k: draw among the k likeliest ids; 0 for all.
      top_p: draw among the fewest ids that together have this probability; 0 leaves the likeliest.
      repetition_penalty: applied once to every distinct id of the history, before anything else; 1 for none.

    Raises:
      InputError: a value from which no id can be picked.
    """

    temperature: float | jax.Array = 0.0
    top_k: int | jax.Array = 0
    top_p: float | jax.Array = 1.0
    repetition_penalty: float | jax.Array = 1.0

    def __post_init__(self) -> None:
        _check("temperature", self.temperature, lambda t: 0 <= t < math.inf, "0 or a finite number above 0")
        _check("top_k", self.top_k, lambda k: k >= 0, "0 or more")
        _check("top_p", self.top_p, lambda p: 0 <= p <= 1, "a probability, from 0 to 1")
        _check("repetition_penalty", self.repetition_penalty, lambda r: 0 < r < math.inf, "a finite number above 0")

    def of_rows(self, rows: int) -> "Sampling":
        """The same with arrays `[rows]`."""

        def every(value: float | int | jax.Array, dtype: Any = jnp.float32) -> jax.Array:
            return jnp.broadcast_to(jnp.asarray(value, dtype), (rows,))

        return Sampling(
            every(self.temperature), every(self.top_k, jnp.int32), every(self.top_p), every(self.repetition_penalty)
        )


def _check(name: str, value: object, holds: Callable[[float], bool], wanted: str) -> None:
    """Refuses a number that does not hold; arrays of a compiled program have no value to look at."""
    if isinstance(value, int | float) and not holds(value):
        raise InputError(f"sampling: {name} is {value}; give {wanted}")


GREEDY = Sampling()


def fold(keys: Key[jax.Array, " B"], data: Int[Array, "*B"] | int) -> Key[jax.Array, " B"]:
    """Derives a key for each sample from its key and a number, or from a number of its own."""
    return jax.vmap(jax.random.fold_in)(keys, jnp.broadcast_to(data, keys.shape))


def pick(
    logits: Float[jax.Array, "B V"],
    seen: Bool[jax.Array, "B V"],
    keys: Key[jax.Array, " B"],
    sampling: Sampling,
    draws: bool = True,
) -> Int[jax.Array, " B"]:
    """Picks one id for every row of float32 logits.

    `seen` marks the ids of the history. Every row has a key, so that its draws do not depend on its batch. Without
    `draws` every row takes its likeliest id, whatever its temperature, and nothing is sorted.
    """
    penalty = _column(sampling.repetition_penalty)
    logits = jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)
    likeliest = jnp.argmax(logits, axis=-1).astype(jnp.int32)
    if not draws:
        return likeliest
    temperature = _column(sampling.temperature)
    cold = temperature == 0
    warm = logits / jnp.where(cold, 1.0, temperature)
    kept = keep_likeliest(warm, sampling.top_k, sampling.top_p)
    drawn = jax.vmap(jax.random.categorical)(keys, kept).astype(jnp.int32)
    return jnp.where(jnp.broadcast_to(cold, (len(drawn), 1))[:, 0], likeliest, drawn)


def keep_likeliest(
    logits: Float[jax.Array, "B V"], top_k: int | jax.Array, top_p: float | jax.Array
) -> Float[jax.Array, "B V"]:
    """Hides all but the `top_k` highest logits of each row (0: none), then the least likely beyond `top_p`.

    The likeliest always stays.
    """
    ordered = jnp.sort(logits, axis=-1, descending=True)
    size = logits.shape[-1]
    most = _column(top_k)
    last = jnp.clip(jnp.where(most == 0, size, most), 1, size) - 1
    least = jnp.take_along_axis(ordered, jnp.broadcast_to(last, (len(logits), 1)), axis=-1)
    among = jnp.where(ordered < least, -jnp.inf, ordered)
    probs = jax.nn.softmax(among, axis=-1)
    before = jnp.cumsum(probs, axis=-1) - probs
    kept = ((before < _column(top_p)) & (ordered >= least)) | (jnp.arange(size) == 0)
    lowest = jnp.min(jnp.where(kept, ordered, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(logits < lowest, -jnp.inf, logits)


def _column(value: float | int | jax.Array) -> jax.Array:
    """A number, or one for each row as a column."""
    array = jnp.asarray(value)
    return array[:, None] if array.ndim else array


def mark(seen: Bool[jax.Array, "B V"], ids: Int[Array, "B ..."], where: Bool[Array, "B ..."]) -> Bool[jax.Array, "B V"]:
    """Adds the ids that `where` marks to the history `seen`."""
    rows = jnp.arange(seen.shape[0]).reshape(-1, *([1] * (ids.ndim - 1)))
    return seen.at[rows, jnp.where(where, ids, seen.shape[1])].set(True, mode="drop")
