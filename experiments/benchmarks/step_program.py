"""The training step that benchmarks measure: all parameters, both losses, random weights, the same batch every time."""

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
from fac_jax.training.step import Step, TrainState, bind, init_state, make_step
from fac_jax.types import Batch, Params

OPTIMIZER = OptimizerConfig(peak=1e-3)


def random_params(config: ModelConfig) -> Params:
    """Returns the parameters of seed 0."""
    return init_params(config, jax.random.key(0))


def training_step(
    config: ModelConfig, stage: StageConfig, attention: Attention
) -> tuple[Step, Callable[[], TrainState]]:
    """Returns the training step of a stage, which is compiled when it is called, and what makes its first state.

    Args:
      config: model config.
      stage: loss, optimizer and trainable parameters.
      attention: attention kernel.
    """
    schedule = make_schedule(stage.optimizer, stage.steps)
    transform = make_optimizer(stage.optimizer, schedule)
    objective = bind(stage.loss, FunAudioChat(config, training_kernels(attention=attention)))
    step = make_step(objective, transform, schedule, stage.trainable)
    return step, lambda: init_state(random_params(config), transform, stage.trainable)


def step_program(
    config: ModelConfig,
    batch: Any,
    attention: Attention = "einsum",
    optimizer: OptimizerConfig = OPTIMIZER,
    **values: Any,
) -> tuple[Program, Callable[[], dict[str, jax.Array]]]:
    """Compiles a training step on a batch; returns it with a function that runs it and returns its metrics.

    The state is created on the device and donated, so that it is in memory only once.

    Args:
      config: model config.
      batch: batch in host memory.
      attention: attention kernel.
      optimizer: optimizer of all parameters.
      **values: other fields of the stage.
    """
    stage = StageConfig("benchmark", steps=1000, optimizer=optimizer, **values)
    step, fresh = training_step(config, stage, attention)
    state, batch = jax.jit(fresh)(), jax.device_put(batch)
    program = compiled(step, state, batch)

    def run() -> dict[str, jax.Array]:
        nonlocal state
        state, metrics = program.run(state, batch)
        return metrics

    return program, run


def step_parts(config: ModelConfig, batch: Batch) -> dict[Part, float]:
    """Counts the FLOPs of the step by part of the model, without recomputation."""
    stage = StageConfig("benchmark", steps=1)
    shapes = jax.eval_shape(lambda: random_params(config))
    return step_flops(config, stage, trainable_paths(shapes, stage.trainable), batch_stats(batch))
