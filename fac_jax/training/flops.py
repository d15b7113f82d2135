"""FLOPs of a training step, by part of the model: those a stage needs, and those its program executes."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
from flax import traverse_util

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.layers.stack import Remat
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, Part, by_part
from fac_jax.training.stage import StageConfig
from fac_jax.training.trainable import SEP, split
from fac_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a compiled program computes a step.

    Attributes:
      length: S, LLM positions of a row; logits are computed for a multiple of the loss's `chunk`.
      attention_again: products of the size of a decoder's scores that the backward pass repeats (`ATTENTION_AGAIN`).
      encoder_again: likewise, of the audio encoder's.
    """

    length: int
    attention_again: int
    encoder_again: int


def _again(none: int, dots: int, save_attention: int, full: int) -> Mapping[Remat, int]:
    kept = save_attention
    return {"none": none, "dots": dots, "save_attention": kept, "full": full, "offload": kept}


# By kernel and `ModelConfig.remat`; the forward pass has two of them, its gradient four more. "dots" and
# "save_attention" keep the weighted values, and the log-sum-exp of the scores where a kernel has a backward pass of its
# own. Scores have batch dimensions in the einsum, so that "dots" does not keep them. They are counted whole, those of
# keys behind a causal query, which a kernel leaves out, among them.
ATTENTION_AGAIN: Final[Mapping[str, Mapping[Remat, int]]] = {
    "einsum_attend": _again(none=0, dots=1, save_attention=1, full=2),
    **dict.fromkeys(
        ("blocked_attend", "cudnn_attend", "PackedAttend"), _again(none=1, dots=1, save_attention=1, full=3)
    ),
    # One backward kernel for queries, one for keys and values.
    "SplashAttend": _again(none=3, dots=3, save_attention=3, full=5),
}


def trainable_paths(params: Params, patterns: Sequence[str]) -> frozenset[str]:
    """Paths of the parameters that train, "backbone/norm/scale"; shapes are enough for `params`."""
    trainable, _ = split(params, patterns)
    return frozenset(traverse_util.flatten_dict(trainable, sep=SEP))


def step_flops(
    model: ModelConfig,
    stage: StageConfig,
    trainable: Collection[str],
    stats: BatchStats,
    execution: Execution | None = None,
) -> dict[Part, float]:
    """Counts the FLOPs of one update, by part; those of the optimizer, a few per parameter, are left out.

    A product costs its forward pass, once more where its kernel trains, and once more where a gradient flows to its
    input. A frozen reference costs a forward pass.

    Args:
      model: sizes.
      stage: what is trained, for its loss.
      trainable: of `trainable_paths`.
      stats: `batch_stats` of a batch for the FLOPs that are needed, `dense_stats` for those that a dense program
        executes.
      execution: adds what is computed again in the backward pass (`ModelConfig.remat`, chunks of logits, attention).
    """
    found = stage.loss.blocks(model, stats)
    differentiated: dict[str, bool] = {}  # whether anything is, by block
    parts: dict[Part, float] = {}
    for block in found:
        trains = any(path.startswith(block.path) for path in trainable)
        above = any(differentiated[name] for name in block.reads)
        inwards = above or (block.stack and trains)  # every layer of a scan is differentiated if one is
        differentiated[block.name] = above or trains
        kernels = sum(flops for name, flops in block.products.items() if block.path + name in trainable)
        cost = block.flops + kernels
        if inwards:
            cost += sum(block.products.values()) + 2 * block.attention
        if execution and block.chunk is not None:
            passes = 1 + inwards + bool(kernels)
            cost += block.flops * _chunking(passes, block.chunk, execution.length)
        elif execution and block.stack and inwards:
            encoder = block.part == "audio encoder"
            again = execution.encoder_again if encoder else execution.attention_again
            cost += _repeated(block, model.remat, again)
        parts[block.part] = parts.get(block.part, 0.0) + cost
    if stage.loss.needs_reference == "frozen":
        for part, flops in by_part(found).items():
            parts[part] += flops
    return parts


def _chunking(passes: int, chunk: int, length: int) -> float:
    """Counts what logits in chunks cost beyond `passes` over a row, in passes: padding, and the forward pass again."""
    if length <= chunk:
        return 0.0
    padded = -(-length // chunk) * chunk / length
    return (passes + (passes > 1)) * padded - passes


def _repeated(stack: Block, remat: Remat, attention_again: int) -> float:
    """Counts the FLOPs of layers that the backward pass repeats.

    Weighted values are counted under "dots" also where a frozen projection after them does without.
    """
    cost = attention_again * stack.attention / 2
    if remat == "full":
        cost += sum(flops for name, flops in stack.products.items() if name not in stack.unread)
    if remat in ("save_attention", "offload"):
        feed_forward = {name: flops for name, flops in stack.products.items() if name.startswith(("mlp/", "moe/"))}
        cost += sum(flops for name, flops in feed_forward.items() if name not in stack.unread)
    if remat == "dots":  # keeps no product of experts
        cost += sum(stack.products.get(f"moe/{name}", 0.0) for name in ("gate", "up", "down"))
    return cost


@dataclasses.dataclass(frozen=True)
class Meter:
    """Counts the FLOPs of a stage, step by step.

    Attributes:
      trainable: of `trainable_paths`.
      peak: FLOP/s that all devices of the run can do together, None if that is not known.
      hosts: number of hosts that share the rows of a batch in about equal parts.
    """

    model: ModelConfig
    stage: StageConfig
    trainable: frozenset[str]
    peak: float | None = None
    hosts: int = 1

    def flops(self, stats: BatchStats) -> float:
        """Counts the FLOPs that an update needs on all hosts together, from the counts of this host's rows."""
        return self.hosts * float(np.sum(list(step_flops(self.model, self.stage, self.trainable, stats).values())))
