"""The program of a stage, the same for training and for plans: its jitted step, and the state that the step takes."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fac_jax.layers.kernels import Kernels
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.training.optimizer import make_optimizer, make_schedule
from fac_jax.training.sharding import abstract_params, abstract_state, shardings
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import TrainState, init_state
from fac_jax.training.step import Objective, Step, bind, make_step
from fac_jax.types import Params


@dataclasses.dataclass(frozen=True)
class StageProgram:
    """What a stage computes.

    Attributes:
      kernels: of the model.
      objective: that the stage minimises.
      step: of `make_step`.
      state: shapes and dtypes of the state before the first step, with shardings on a mesh.
      start: makes that state from parameters, which must not be used afterwards.
    """

    kernels: Kernels
    objective: Objective
    step: Step
    state: TrainState
    start: Callable[[Params], TrainState]


def stage_program(
    model: ModelConfig, stage: StageConfig, layout: Layout | None, attention: Attention = "auto"
) -> StageProgram:
    """Makes the program of a stage; nothing is computed or compiled.

    Args:
      model: config of the model.
      stage: what to train.
      layout: mesh, of devices that need not exist; None for one device.
      attention: of the decoders (`training_kernels`).

    Raises:
      InputError: the mesh does not divide a parameter, a pattern of the stage matches none, or the devices have no
        such attention.
    """
    schedule = make_schedule(stage.optimizer, stage.steps)
    optimizer = make_optimizer(stage.optimizer, schedule)
    kernels = training_kernels(layout, attention)
    objective = bind(stage.loss, FunAudioChat(model, kernels), layout)
    frozen = stage.loss.needs_reference == "frozen"
    state = abstract_state(abstract_params(model, layout), optimizer, stage.trainable, frozen)
    placed = None if layout is None else shardings(state)

    def begin(params: Params, reference: Params | None) -> TrainState:
        return init_state(params, optimizer, stage.trainable, reference)

    def start(params: Params) -> TrainState:
        reference = jax.tree.map(jnp.copy, params) if frozen else None
        if layout is None:
            return begin(params, reference)
        return jax.jit(begin, out_shardings=placed, donate_argnums=(0, 1))(params, reference)

    step = make_step(objective, optimizer, schedule, stage.trainable, stage.micro_batches, placed)
    return StageProgram(kernels, objective, step, state, start)
