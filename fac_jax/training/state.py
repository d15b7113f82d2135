"""The train state."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Int32

from fac_jax.training.trainable import split
from fac_jax.types import Array, Params


@struct.dataclass
class TrainState:
    """What a step changes. It has no random state: random numbers belong to the data, which has its own state.

    Attributes:
      step: number of updates made in this stage.
      params: all parameters, the frozen ones included.
      opt_state: optimizer state of the trainable parameters.
      reference: parameters of the reference model of a preference loss, which no step changes; None without one. They
        are those that the stage starts from, so they are not in its checkpoints.
    """

    step: Int32[Array, ""]
    params: Params
    opt_state: optax.OptState
    reference: Params | None = None


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    patterns: Sequence[str],
    reference: Params | None = None,
) -> TrainState:
    """Returns the state before the first step.

    Args:
      params: all parameters.
      optimizer: optimizer of the trainable parameters.
      patterns: which parameters train (`trainable.split`).
      reference: parameters of the reference model; None without one.
    """
    trainable, _ = split(params, patterns)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trainable), reference)
