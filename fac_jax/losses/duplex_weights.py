"""Weights of the labels of calls (docs/duplex.md, "Training"), found from the fields of a `Batch`."""

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float32, Int

from fac_jax.models.duplex import DuplexConfig
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import IGNORE, Array, Kind


def text_weights(
    labels: Int[Array, "B S"],
    kind: Int[Array, "B S"],
    beside: Bool[Array, "B S"],
    special: SpecialIds,
    config: DuplexConfig,
) -> Float32[jax.Array, "B S"]:
    """Returns the weight of every text label, 1 in half-duplex rows; labels are not shifted."""
    idle = (kind == Kind.SPEECH) & (labels == special.sil)
    edge = beside & ((labels == special.audio_bos) | (labels == special.audio_eos))
    weights = jnp.where(idle, config.idle_weight, jnp.where(edge, config.turn_weight, 1.0))
    return weights.astype(jnp.float32)


def speech_weights(
    speech_labels: Int[Array, "B S G"], beside: Bool[Array, "B S"], special: SpecialIds, config: DuplexConfig
) -> Float32[jax.Array, "B S"]:
    """Returns the weight of every group of speech labels, 1 in half-duplex rows; labels are not shifted.

    The first group of a turn that is heard follows the opening slot, which has no speech label, or a group of bos.
    """
    first = jnp.asarray(speech_labels)[..., 0]
    before = jnp.pad(first, ((0, 0), (1, 0)), constant_values=IGNORE)[:, :-1]
    starts = (first != special.speech_bos) & ((before == special.speech_bos) | (before == IGNORE))
    edge = beside & (first != IGNORE) & (starts | (first == special.speech_eos))
    return jnp.where(edge, config.edge_weight, 1.0).astype(jnp.float32)
