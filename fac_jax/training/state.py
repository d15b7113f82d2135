"""What training carries from step to step."""

from collections.abc import Sequence

import jax.numpy as jnp
import optax
from flax import struct

from fac_jax.training.trainable import split
from fac_jax.types import Array, Params


@struct.dataclass
class TrainState:
    """Everything a step changes. Nothing here is random: chance lives in the data, with a state of its own.

    Attributes:
      step: int32 scalar, updates made so far in this stage.
      params: all parameters, frozen ones too.
      opt_state: optimizer state, of the trainable parameters only.
    """

    step: Array
    params: Params
    opt_state: optax.OptState


def init_state(params: Params, optimizer: optax.GradientTransformation, patterns: Sequence[str]) -> TrainState:
    """State before the first step; `patterns` choose the trainable parameters (`trainable.split`)."""
    trainable, _ = split(params, patterns)
    return TrainState(step=jnp.zeros((), jnp.int32), params=params, opt_state=optimizer.init(trainable))
