"""The label that every position predicts."""

import jax
import jax.numpy as jnp
from jaxtyping import Int

from fac_jax.types import IGNORE, Array


def next_labels(labels: Int[Array, "B S *G"], segment_ids: Int[Array, "B S"]) -> Int[jax.Array, "B S *G"]:
    """Shifts labels by one LLM position: each position predicts the label of the next one in its segment.

    Args:
      labels: int32, not shifted.
      segment_ids: int32.

    Returns:
      labels of the same shape, IGNORE where a segment ends.
    """
    inside = jnp.pad(segment_ids[:, 1:] == segment_ids[:, :-1], ((0, 0), (0, 1)))
    inside = inside.reshape(*inside.shape, *(1,) * (labels.ndim - 2))
    return jnp.where(inside, jnp.roll(labels, -1, axis=1), IGNORE)
