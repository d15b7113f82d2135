"""The flow under the chunk mask, one chunk after the other: `flow.sample(.., chunk, left)` at a constant cost."""

import functools
from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.dit import Past
from fac_jax.codec.cosyvoice.flow import Flow, guided, times
from fac_jax.types import Array, Params


def empty_past(config: FlowConfig, chunk: int, left: int) -> Past:
    """Returns the past of a new stream, one for each Euler step; keys are a ring of W = `chunk * left` frames."""
    c = config.dit
    keys = jnp.zeros((config.steps, c.depth, 2, chunk * left, c.num_heads * c.head_dim))
    return Past(keys, keys.copy(), jnp.zeros((config.steps, 2, 2, c.conv_width - 1, c.width)))


@functools.partial(jax.jit, static_argnames="config", donate_argnames="past")
def sample_chunk(
    config: FlowConfig,
    params: Params,
    past: Past,
    number: Int[Array, ""],
    ids: Int[Array, " padded"],
    length: Int[Array, ""],
    embedding: Float[Array, " speaker_width"],
    cond: Float[Array, "M mel_bins"],
    noise: Float[Array, "M mel_bins"],
) -> tuple[Float[jax.Array, "M mel_bins"], Past]:
    """Solves the next chunk of a stream, M = `T * token_frames` frames.

    Args:
      config: sizes.
      params: parameters of `Flow`.
      past: past of the earlier chunks (`empty_past` at first); its buffers are donated.
      number: number of this chunk, from 0.
      ids: `padded = 2 + T + lookahead` ids: two tokens before the chunk, its own, those that follow; ABSENT for none.
      length: number of frames to speak; fewer than M only at the end.
      embedding: speaker embedding.
      cond: log-mel of the prompt in this chunk.
      noise: start of the solver.

    Returns:
      log-mel float32, and the past of the next chunk.
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
        return x + dt * guided(direction, config.guidance), cast(Past, kept)

    t, dt = times(config.steps)
    mel, kept = jax.lax.scan(step, jnp.asarray(noise), (jnp.asarray(t), jnp.asarray(dt), past))
    place = (0, 0, 0, number * chunk % window, 0)
    k, v = (jax.lax.dynamic_update_slice(old, new, place) for old, new in ((past.k, kept.k), (past.v, kept.v)))
    return mel, Past(k, v, kept.tails)
