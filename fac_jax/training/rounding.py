"""How an update becomes a parameter: to the nearest value in float32, or stochastically in bfloat16."""

import zlib
from typing import Literal, NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import BFloat16, Float32, Key

from fac_jax.types import InputError, Params

Rounding: TypeAlias = Literal["nearest", "stochastic"]

SOUND: dict[Rounding, tuple[str, ...]] = {"nearest": ("float32",), "stochastic": ("float32", "bfloat16")}
DROPPED_BITS = 16  # of a float32's mantissa, which a bfloat16 does not have


class RoundedState(NamedTuple):
    """Number of updates made, int32; the random numbers of an update depend on it."""

    count: jax.Array


def check_master(params: Params, rounding: Rounding) -> None:
    """Refuses trainable parameters whose dtype is too coarse for small updates.

    A bfloat16 has 8 significant bits: an update below 1/512 of a parameter is lost when it is rounded to the nearest
    value, so that a fine-tuning at a rate of 1e-5 changes few of the parameters.

    Raises:
      InputError: names the first parameter that this rounding cannot train, and what to do.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.dtype(leaf.dtype).name
        if dtype not in SOUND[rounding]:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            other = ', or optimizer.rounding="stochastic"' if dtype in SOUND["stochastic"] else ""
            raise InputError(
                f"parameter {name} trains in {dtype}, in which small updates are lost; "
                f'set model.param_dtype="float32"{other}'
            )


def rounded(rounding: Rounding) -> optax.GradientTransformation:
    """Makes float32 updates such that `optax.apply_updates` gives parameters rounded as asked.

    "nearest" leaves the updates as they are. "stochastic" rounds the sum of a bfloat16 parameter and its update up or
    down with probabilities that make its expectation the exact sum. Random numbers depend on the update's number and on
    the parameter's path only, so that a resumed run is equal to an uninterrupted one, on any mesh.

    Its `init` raises InputError for parameters that this rounding cannot train (`check_master`).
    """

    def init(params: optax.Params) -> RoundedState | optax.EmptyState:
        check_master(cast(Params, params), rounding)
        return RoundedState(jnp.zeros((), jnp.int32)) if rounding == "stochastic" else optax.EmptyState()

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        if rounding == "nearest":
            return updates, state
        count = cast(RoundedState, state).count
        key = jax.random.fold_in(jax.random.key(0), count)

        def step(path: jax.tree_util.KeyPath, param: jax.Array, change: jax.Array) -> jax.Array:
            if param.dtype != jnp.bfloat16:
                return change
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            old = param.astype(jnp.float32)
            new = round_stochastically(old + change, jax.random.fold_in(key, zlib.crc32(name.encode())))
            return new.astype(jnp.float32) - old

        return jax.tree_util.tree_map_with_path(step, params, updates), RoundedState(count + 1)

    return optax.GradientTransformation(init, update)


def round_stochastically(
    values: Float32[jax.Array, "*shape"], key: Key[jax.Array, ""]
) -> BFloat16[jax.Array, "*shape"]:
    """Rounds float32 values to bfloat16 with the exact value as expectation.

    A float32 is a bfloat16 followed by 16 bits. Adding a uniform random number of 16 bits carries into the bfloat16
    with a probability that is proportional to the bits that are dropped afterwards. Values that are not finite stay.
    """
    noise = jax.random.bits(key, values.shape, jnp.uint16).astype(jnp.uint32)
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32) + noise
    kept = jax.lax.bitcast_convert_type((bits >> DROPPED_BITS).astype(jnp.uint16), jnp.bfloat16)
    return jnp.where(jnp.isfinite(values), kept, values.astype(jnp.bfloat16))
