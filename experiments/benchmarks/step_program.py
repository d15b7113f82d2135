"""The training step that benchmarks measure: all parameters, both losses, random weights, one batch again and again."""

from collections.abc import Callable
from typing import Any

import jax

from experiments.benchmarks.measure import Program, compiled
from fac_jax.batching.batch_stats import batch_stats
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Part
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.training.flops import step_flops, trainable_paths
from fac_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import TrainState, init_state
from fac_jax.training.step import bind, make_step
from fac_jax.types import Batch, Params

OPTIMIZER = OptimizerConfig(peak=1e-3)


def random_params(config: ModelConfig) -> Params:
    """The parameters of seed 0."""
    return init_params(config, jax.random.key(0))


def step_program(
    config: ModelConfig,
    batch: Any,
    attention: Attention = "einsum",
    optimizer: OptimizerConfig = OPTIMIZER,
    **values: Any,
) -> tuple[Program, Callable[[], dict[str, jax.Array]]]:
    """A training step on a batch, and a call that makes it and gives its metrics.

    Its state is made on the device and donated, so nothing of the model's size lies there twice.

    Args:
      config: of the model.
      batch: on the host.
      attention: of its kernels.
      optimizer: of all parameters.
      **values: of the stage.
    """
    stage = StageConfig("benchmark", steps=1000, optimizer=optimizer, **values)
    schedule = make_schedule(optimizer, stage.steps)
    transform = make_optimizer(optimizer, schedule)
    objective = bind(stage.loss, FunAudioChat(config, training_kernels(attention=attention)))
    step = make_step(objective, transform, schedule, stage.trainable)

    def fresh() -> TrainState:
        return init_state(random_params(config), transform, stage.trainable)

    state, batch = jax.jit(fresh)(), jax.device_put(batch)
    program = compiled(step, state, batch)

    def run() -> dict[str, jax.Array]:
        nonlocal state
        state, metrics = program.run(state, batch)
        return metrics

    return program, run


def step_parts(config: ModelConfig, batch: Batch) -> dict[Part, float]:
    """FLOPs that the step needs, by part."""
    stage = StageConfig("benchmark", steps=1)
    shapes = jax.eval_shape(lambda: random_params(config))
    return step_flops(config, stage, trainable_paths(shapes, stage.trainable), batch_stats(batch))
