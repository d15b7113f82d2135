"""How much of what a device can multiply a training step uses (MFU), by the attention that it runs."""

from typing import Any, get_args

import jax
import numpy as np

from experiments.measure import compiled, once, product_rate
from experiments.workloads import UNIT_RATE, Utilisation, packed_batch
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.parallel.chips import peak_of
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.training.flops import step_flops, trainable_paths
from fac_jax.training.objectives import make_objective
from fac_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import TrainState, init_state
from fac_jax.training.step import make_step
from fac_jax.types import InputError, Kind
from fac_jax.work import needed_work

DTYPE = "bfloat16"  # of the products


def kernels_here() -> dict[Attention, Any]:
    """Training kernels of the default device, by the attentions that it has."""
    found = {}
    for attention in get_args(Attention):
        try:
            found[attention] = training_kernels(attention=attention)
        except InputError:
            continue  # no flash attention on this platform
    return found


def utilisation_figures(config: ModelConfig, work: Utilisation, updates: int) -> dict[Attention, dict[str, float]]:
    """A training step of all parameters on both losses, products in bfloat16, by attention.

    A state is made on the device by one program and given to the step, so nothing of the model's size lies there twice.
    "TFLOP/s" are needed ones: what is computed again does not count. They are held against a large matrix product of
    the same process, and, as MFU, against the maker's figure where `parallel.chips` has the device.

    Args:
      config: the model; its `dtype` is overridden.
      work: rows and what of the state is kept how.
      updates: steps, of which the median counts.
    """
    config = replace(config, dtype=DTYPE)
    optimizer = OptimizerConfig(peak=1e-5, moments=work.moments)
    stage = StageConfig("utilisation", steps=1000, optimizer=optimizer)
    schedule = make_schedule(stage.optimizer, stage.steps)
    transform = make_optimizer(stage.optimizer, schedule)

    def fresh() -> TrainState:
        return init_state(init_params(config, jax.random.key(0)), transform, stage.trainable)

    host = packed_batch(config, work.rows, work.packed, work.conversation)
    trained = trainable_paths(jax.eval_shape(fresh).params, stage.trainable)
    needed = sum(step_flops(config, stage, trained, needed_work(host)).values())
    audio = int(np.sum(host.kind != Kind.TEXT)) * config.group_size / UNIT_RATE
    batch, rate, peak, figures = jax.device_put(host), product_rate(DTYPE), peak_of(jax.devices()[:1]), {}
    for attention, kernels in kernels_here().items():
        step = make_step(make_objective(stage, FunAudioChat(config, kernels)), transform, schedule, stage.trainable)
        state = jax.jit(fresh)()
        program = compiled(step, state, batch)
        losses = []

        def run() -> jax.Array:
            nonlocal state
            state, metrics = program.run(state, batch)  # noqa: B023 (called in this turn alone)
            losses.append(metrics["loss"])  # noqa: B023
            return metrics["loss"]

        once(run)
        seconds = float(np.median([once(run) for _ in range(updates)]))
        del state
        figures[attention] = {
            "seconds a step": seconds,
            "LLM positions/s": host.kind.size / seconds,
            "audio seconds/s": audio / seconds,
            "needed TFLOP/s": needed / seconds / 1e12,
            "products TFLOP/s": rate / 1e12,
            "share of products": needed / seconds / rate,
            **({"share of peak (MFU)": needed / seconds / peak} if peak else {}),
            "first loss": float(losses[0]),
            "compile seconds": program.compile_seconds,
            "bytes": program.bytes,
        }
    return figures
