"""Connectionist temporal classification, for warming up the audio encoder."""

import jax
import jax.numpy as jnp
import optax

from fac_jax.types import Array


def left_aligned(keep: Array) -> jax.Array:
    """Indices `[B, N]` that bring the kept entries (`keep` bool `[B, N]`) of a row to its left, in their order."""
    return jnp.argsort(~jnp.asarray(keep), axis=-1, stable=True)


def ctc_losses(logits: Array, frames: Array, tokens: Array, kept: Array, blank: int) -> jax.Array:
    """Negative log-likelihood of every row's tokens by CTC, per token.

    Args:
      logits: float `[B, T, V]`, taken to float32.
      frames: bool `[B, T]`, the frames that exist.
      tokens: int32 `[B, N]`; never the blank.
      kept: bool `[B, N]`, which tokens belong to the target; gaps are closed.
      blank: id of the blank.

    Returns:
      float32 `[B]`, 0 for a row without frames or without tokens.
    """
    order = left_aligned(kept)
    targets = jnp.take_along_axis(jnp.asarray(tokens), order, axis=-1)
    padding = 1.0 - jnp.take_along_axis(jnp.asarray(kept), order, axis=-1).astype(jnp.float32)
    targets = jnp.where(padding > 0, blank, targets)
    missing = 1.0 - jnp.asarray(frames).astype(jnp.float32)
    loss = optax.ctc_loss(jnp.asarray(logits, jnp.float32), missing, targets, padding, blank_id=blank)
    length = jnp.sum(1.0 - padding, axis=-1)
    whole = (length > 0) & jnp.any(frames, axis=-1)
    return jnp.where(whole, loss / jnp.maximum(length, 1.0), 0.0)
