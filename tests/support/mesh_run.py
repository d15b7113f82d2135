"""Tiny models, and one training step of them on a mesh or on one device, for the tests of sharding."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from toy_pairs import pairs_of
from toy_training import MODEL, make_batch, stage

from fac_jax.losses import Preference
from fac_jax.losses.base import Metrics
from fac_jax.models.config import ModelConfig, MoEConfig, replace
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.mesh import Layout, make_layout
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.program import abstract_params, shardings, stage_program
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import TrainState
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
    program = stage_program(config, what, on)
    state = program.start(fresh(config, on))
    if state.reference is not None:
        state = dataclasses.replace(state, reference=fresh(config, on, 1))
    return program.step, state


def one_step(config: ModelConfig, what: StageConfig, on: Layout | None) -> tuple[TrainState, Metrics]:
    step, state = begin(config, what, on)
    batch = batch_of(what, config)
    return step(state, batch if on is None else place_batch(batch, on))


@functools.cache
def alone(config: str, what: str) -> tuple[TrainState, Metrics]:
    """On one device."""
    return jax.device_get(one_step(CONFIGS[config], STAGES[what], None))


def worst(ours: Params, theirs: Params) -> float:
    """Greatest difference of a leaf, relative to its greatest value."""
    pairs = zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-30)) for a, b in pairs)
