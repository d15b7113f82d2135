"""Speed of training steps: plain, of preferences, with against without grouping, and their utilisation (MFU)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.measure import Program, compiled, once, product_rate
from experiments.benchmarks.workloads import (
    Conversation,
    Utilisation,
    Workload,
    packed_batch,
    preference_batch,
    seconds_of_audio,
)
from fac_jax.batching.batch_config import BatchConfig
from fac_jax.batching.batch_stats import batch_stats
from fac_jax.losses import Preference
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.flops import Part
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.parallel.compiler import compiler_options
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.training.flops import step_flops, trainable_paths
from fac_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import Step, TrainState, bind, init_state, make_step
from fac_jax.types import Batch, Params

OPTIMIZER = OptimizerConfig(peak=1e-3)
DTYPE = "bfloat16"  # dtype of the products


def random_params(config: ModelConfig) -> Params:
    """Returns the parameters of seed 0."""
    return init_params(config, jax.random.key(0))


def training_step(
    config: ModelConfig, stage: StageConfig, attention: Attention
) -> tuple[Step, Callable[[], TrainState]]:
    """Returns the training step of a stage, which is compiled when it is called, and what makes its first state."""
    schedule = make_schedule(stage.optimizer, stage.steps)
    transform = make_optimizer(stage.optimizer, schedule)
    kernels = training_kernels(attention=attention, segments=stage.data.segments)
    objective = bind(stage.loss, FunAudioChat(config, kernels), precision=stage.precision)
    step = make_step(objective, transform, schedule, stage.patterns, options=compiler_options(None))
    return step, lambda: init_state(random_params(config), transform, stage.patterns)


def step_program(
    config: ModelConfig,
    batch: Any,
    attention: Attention = "einsum",
    optimizer: OptimizerConfig = OPTIMIZER,
    **values: Any,
) -> tuple[Program, Callable[[], dict[str, jax.Array]]]:
    """Compiles a training step on a batch; returns it with a function that runs it and returns its metrics.

    The state is created on the device and donated, so that it is in memory only once.
    """
    stage = StageConfig("benchmark", steps=1000, optimizer=optimizer, **values)
    segments = int(np.max(stage.loss.conversations(batch).segment_ids))
    stage = dataclasses.replace(stage, data=BatchConfig(segments=segments))
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
    return step_flops(config, stage, trainable_paths(shapes, stage.patterns), batch_stats(batch))


def train_figures(config: ModelConfig, work: Workload) -> dict[str, float]:
    """Measures a training step on both losses, alternating with a preference step on the same prompts.

    The preference step uses stored reference log-probabilities and twice the conversations of the plain step: the same
    replies, and a worse reply to each of their prompts.
    """
    batch = packed_batch(config, work.rows, work.packed, work.conversation)
    program, run = step_program(config, batch)
    _, prefer = step_program(config, preference_batch(batch, config, work.packed), loss=Preference())
    jax.block_until_ready((run(), prefer()))
    times = [(once(run), once(prefer)) for _ in range(work.updates)]
    seconds = min(plain for plain, _ in times)
    return {
        "steps/s": 1 / seconds,
        "audio seconds/s": seconds_of_audio(config, batch) / seconds,
        "LLM positions/s": batch.kind.size / seconds,
        "GFLOP/s": sum(step_parts(config, batch).values()) / seconds / 1e9,
        "DPO step / step": float(np.median([pairs / plain for plain, pairs in times])),
        "compile seconds": program.compile_seconds,
        "bytes": program.bytes,
    }


def grouping_figures(config: ModelConfig, one: Conversation, updates: int) -> dict[str, float]:
    """Measures what dual-resolution speech representations save: a step at the model's group size and one at k = 1.

    Both steps hear and speak the same seconds of audio. The batch is a single conversation, because both programs and
    their states lie in memory together.
    """
    batch = packed_batch(config, 1, 1, one)
    single = replace(config, group_size=1)
    ungrouped = packed_batch(single, 1, 1, one.ungrouped(config.group_size))
    (_, run), (_, run_fine) = (step_program(*what) for what in ((config, batch), (single, ungrouped)))
    jax.block_until_ready((run(), run_fine()))
    times = [(once(run), once(run_fine)) for _ in range(updates)]
    cost, cost_fine = (step_parts(*what) for what in ((config, batch), (single, ungrouped)))
    return {
        "seconds a step": min(grouped for grouped, _ in times),
        "k=1": min(single for _, single in times),
        "time / k=1": float(np.median([grouped / single for grouped, single in times])),
        "FLOPs / k=1": sum(cost.values()) / sum(cost_fine.values()),
        "backbone FLOPs / k=1": cost["backbone"] / cost_fine["backbone"],
    }


def utilisation_figures(config: ModelConfig, work: Utilisation, updates: int) -> dict[Attention, dict[str, float]]:
    """Measures a training step with products in bfloat16, with every attention kernel of the default device.

    "needed TFLOP/s" does not count recomputation. It is compared with a large matrix product in the same process, and,
    as MFU, with the manufacturer's peak if `parallel.chips` knows the device.
    """
    config = replace(config, dtype=DTYPE)
    batch = packed_batch(config, work.rows, work.packed, work.conversation)
    attentions = ("einsum",) if jax.default_backend() == "cpu" else ("einsum", "flash")
    rate = product_rate(DTYPE)
    return {attention: _figures(config, batch, work, attention, updates, rate) for attention in attentions}


def _figures(
    config: ModelConfig, batch: Batch, work: Utilisation, attention: Attention, updates: int, rate: float
) -> dict[str, float]:
    """Measures one attention kernel; its train state is freed on return."""
    program, run = step_program(config, batch, attention, OptimizerConfig(peak=1e-5, moments=work.moments))
    loss = float(run()["loss"])
    seconds = float(np.median([once(run) for _ in range(updates)]))
    needed, peak = sum(step_parts(config, batch).values()) / seconds, peak_flops_of(jax.devices()[:1])
    return {
        "seconds a step": seconds,
        "LLM positions/s": batch.kind.size / seconds,
        "audio seconds/s": seconds_of_audio(config, batch) / seconds,
        "needed TFLOP/s": needed / 1e12,
        "products TFLOP/s": rate / 1e12,
        "share of products": needed / rate,
        **({"share of peak (MFU)": needed / peak} if peak else {}),
        "first loss": loss,
        "compile seconds": program.compile_seconds,
        "bytes": program.bytes,
    }
