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
      reference: parameters that a preference is measured from, which no step changes; None where there are none. They
        are those that the stage starts from, so no checkpoint repeats them.
    """

    step: Array
    params: Params
    opt_state: optax.OptState
    reference: Params | None = None


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    patterns: Sequence[str],
    reference: Params | None = None,
) -> TrainState:
    """State before the first step; `patterns` choose the trainable parameters (`trainable.split`)."""
    trainable, _ = split(params, patterns)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trainable), reference)
