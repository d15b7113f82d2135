"""Tiny models, and one training step of them on a mesh or on one device, for the tests of sharding."""

import functools
from typing import Any

import jax
from toy_pairs import pairs_of
from toy_training import MODEL, make_batch, stage

from fac_jax.losses import Preference
from fac_jax.losses.base import Metrics
from fac_jax.models.config import ModelConfig, MoEConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.kernels import training_kernels
from fac_jax.parallel.mesh import Layout, make_layout
from fac_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fac_jax.training.sharding import abstract_params, abstract_state, shardings
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import TrainState, init_state
from fac_jax.training.step import bind, make_step
from fac_jax.types import Batch, Params, PreferenceBatch

HEADS = {"num_heads": 4, "num_kv_heads": 2}
DENSE = replace(MODEL, text=HEADS, head=HEADS)
CONFIGS = {
    "dense": DENSE,
    "moe": replace(DENSE, text={"moe": MoEConfig(num_experts=4, top_k=2, expert_width=16, aux_loss_coef=0.01)}),
}
MESHES: dict[str, dict[str, int]] = {
    "8": {"fsdp": 8},
    "4x2": {"fsdp": 4, "tensor": 2},
    "2x2x2": {"fsdp": 2, "expert": 2, "tensor": 2},
}
ROWS = 8
# Adam's first update is the sign of the gradient, which rounding turns where it is all but zero. A large `eps` makes it
# the gradient itself, whose rounding errors stay as small as they are.
OPTIMIZER = OptimizerConfig(peak=1e-3, warmup=0.0, eps=0.1)
PREFERENCE = Preference(reference="frozen", speech_anchor=0.5)
STAGES = {
    "sft": stage("sft", optimizer=OPTIMIZER),
    "dpo": stage("dpo", optimizer=OPTIMIZER, loss=PREFERENCE),
}


@functools.cache
def layout(mesh: str) -> Layout:
    return make_layout(MESHES[mesh])


def batch_of(what: StageConfig, config: ModelConfig) -> Batch | PreferenceBatch:
    return pairs_of(0, rows=ROWS) if what.loss.pairs else make_batch(0, rows=ROWS, config=config)


def fresh(config: ModelConfig, on: Layout | None, seed: int = 0) -> Params:
    def init() -> Params:
        return init_params(config, jax.random.key(seed))

    return jax.jit(init, out_shardings=None if on is None else shardings(abstract_params(config, on)))()


def begin(config: ModelConfig, what: StageConfig, on: Layout | None) -> tuple[Any, TrainState]:
    """The step of a stage and its first state; a frozen reference differs from the policy."""
    schedule = make_schedule(what.optimizer, what.steps)
    optimizer = make_optimizer(what.optimizer, schedule)
    reference = fresh(config, on, 1) if what.loss.needs_reference == "frozen" else None

    def start(params: Params) -> TrainState:
        return init_state(params, optimizer, what.trainable, reference)

    lies = None
    if on is not None:
        lies = shardings(abstract_state(abstract_params(config, on), optimizer, what.trainable, reference is not None))
    state = jax.jit(start, out_shardings=lies)(fresh(config, on))
    objective = bind(what.loss, FunAudioChat(config, training_kernels(on)), on)
    return make_step(objective, optimizer, schedule, what.trainable, what.micro_batches, lies), state


def one_step(config: ModelConfig, what: StageConfig, on: Layout | None) -> tuple[TrainState, Metrics]:
    step, state = begin(config, what, on)
    batch = batch_of(what, config)
    return step(state, batch if on is None else place_batch(batch, on))


@functools.cache
def alone(config: str, what: str) -> tuple[TrainState, Metrics]:
    """On one device."""
    return jax.device_get(one_step(CONFIGS[config], STAGES[what], None))
