"""The flow under the chunk mask, chunk by chunk: `flow.sample(.., chunk, left)` at a cost that does not grow."""

import functools

import jax
import jax.numpy as jnp

from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.dit import Past
from fac_jax.codec.cosyvoice.flow import Flow, guided, times
from fac_jax.types import Array, Params


def empty_past(config: FlowConfig, chunk: int, left: int) -> Past:
    """Nothing heard yet: a `Past` of each Euler step, whose keys are a ring of `left` chunks (W = `chunk * left`)."""
    c = config.dit
    keys = jnp.zeros((config.steps, c.depth, 2, chunk * left, c.num_heads * c.head_dim))
    return Past(keys, keys.copy(), jnp.zeros((config.steps, 2, 2, c.conv_width - 1, c.width)))


@functools.partial(jax.jit, static_argnames="config", donate_argnames="past")
def sample_chunk(
    config: FlowConfig,
    params: Params,
    past: Past,
    number: Array,
    ids: Array,
    length: Array,
    embedding: Array,
    cond: Array,
    noise: Array,
) -> tuple[jax.Array, Past]:
    """The next chunk of a stream.

    Args:
      config: sizes.
      params: of `Flow`.
      past: of the chunks before (`empty_past`); it is used up.
      number: int32, of this chunk, from 0.
      ids: int32 `[2 + T + lookahead]`: the two tokens before the chunk, its own, those heard ahead; ABSENT for none.
      length: int32, frames of the chunk that are spoken; fewer than M at the end alone.
      embedding: of the speaker, float32 `[192]`.
      cond: log-mel of the prompt in this chunk, float32 `[M, 80]`, M = `T * token_frames`.
      noise: float32 `[M, 80]`.

    Returns:
      log-mel float32 `[M, 80]`, and the past of the next chunk.
    """
    model, variables = Flow(config), {"params": params}
    conditions = model.apply(variables, ids, embedding, cond, method="conditions")
    chunk, window = len(noise), past.k.shape[3]
    positions = number * chunk + jnp.arange(chunk)
    filled, own = jnp.arange(window) < number * chunk, jnp.arange(chunk) < length
    mask = jnp.broadcast_to(jnp.concatenate([filled, own]), (chunk, window + chunk))

    def step(x: jax.Array, at: tuple[jax.Array, jax.Array, Past]) -> tuple[jax.Array, Past]:
        t, dt, before = at
        both = jnp.broadcast_to(x, (2, *x.shape)), jnp.broadcast_to(t, (2,))
        direction, kept = model.apply(variables, *both, conditions, positions, mask, before, method="direction")
        return x + dt * guided(direction, config.guidance), kept

    mel, kept = jax.lax.scan(step, noise, (*map(jnp.asarray, times(config.steps)), past))
    place = (0, 0, 0, number * chunk % window, 0)
    k, v = (jax.lax.dynamic_update_slice(old, new, place) for old, new in ((past.k, kept.k), (past.v, kept.v)))
    return mel, Past(k, v, kept.tails)
