"""FLOPs of a stage's training step by analysis, and the least time that it can take."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from experiments.planning.hlo import Collective
from experiments.planning.roofline import held_bytes, least_seconds, weight_traffic
from experiments.planning.topologies import Topology
from fac_jax.batching.batch_stats import causal_stats, dense_stats, full_stats
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Part
from fac_jax.parallel.kernels import Attention, attention_choice, kernel_name, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.splash import BLOCKS, SplashAttend
from fac_jax.training.flops import ATTENTION_AGAIN, Execution, step_flops, trainable_paths
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import TrainState
from fac_jax.types import Batch


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What analysis says of a step; the fields are those of `step.Plan`.

    Attributes:
      needed: FLOPs of full rows of one conversation each, by part.
      executed: FLOPs of the program, with what it computes again, by part.
      bounds: seconds by what bounds a step; empty for devices that the table does not have.
    """

    needed: dict[Part, float]
    executed: dict[Part, float]
    bounds: dict[str, float]

    @property
    def seconds(self) -> float | None:
        """Returns the greatest of the bounds, as if everything overlapped; None without bounds."""
        return max(self.bounds.values(), default=None)

    def mfu(self, topology: Topology) -> float | None:
        """Returns the needed FLOPs in that time, as a share of what the chips can do; None without bounds."""
        if self.seconds is None or topology.chip is None:
            return None
        return sum(self.needed.values()) / (self.seconds * topology.chip.peak_flops * len(topology.devices))


def estimate(
    config: ModelConfig,
    stage: StageConfig,
    state: TrainState,
    batch: Any,
    topology: Topology,
    layout: Layout,
    attention: Attention,
    found: Sequence[Collective],
) -> Estimate:
    """Estimates the step of a stage.

    Args:
      config: of the model.
      stage: of the recipe.
      state: abstract, of `stage_program`.
      batch: abstract, of `stage_batch`.
      topology: the devices.
      layout: a mesh of them.
      attention: of the decoders.
      found: collectives of the step, read or guessed.
    """
    rows, paths = stage.loss.conversations(batch), trainable_paths(state.params, stage.trainable)
    executed = executed_flops(config, stage, paths, rows, layout, attention)
    traffic = weight_traffic(config, layout, held_bytes(state))
    bounds = least_seconds(topology, sum(executed.values()), traffic, found)
    return Estimate(step_flops(config, stage, paths, full_stats(rows)), executed, bounds)


def executed_flops(
    config: ModelConfig, stage: StageConfig, paths: Collection[str], batch: Batch, layout: Layout, attention: Attention
) -> dict[Part, float]:
    """FLOPs of a step by part, as its program goes about it on these devices.

    Args:
      config: of the model.
      stage: of the recipe.
      paths: of the parameters that train.
      batch: abstract.
      layout: the devices.
      attention: of the decoders.
    """
    kernels = training_kernels(layout, attention)
    length, text, audio = batch.kind.shape[-1], config.text, config.audio
    heads = (text.num_heads, text.num_kv_heads, text.head_dim)
    windows = (audio.num_heads, audio.num_heads, audio.width // audio.num_heads)
    attend, _ = attention_choice(kernels.attend, heads, config.dtype, length, layout)
    encoder_attend, _ = attention_choice(kernels.encoder_attend, windows, config.dtype, audio.n_window, layout)
    again, encoder = (ATTENTION_AGAIN[kernel_name(kernel)][config.remat] for kernel in (attend, encoder_attend))
    stats = dense_stats(batch)
    if isinstance(attend, SplashAttend):
        stats = causal_stats(stats, BLOCKS, config.group_size)
    return step_flops(config, stage, paths, stats, Execution(length, again, encoder))
