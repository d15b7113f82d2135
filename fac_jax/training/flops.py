"""FLOPs of a training step, by part of the model: what a stage needs, and what its program executes."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.models.config import ModelConfig, Remat
from fac_jax.models.flops import Block, Part, blocks, by_part, ctc_blocks
from fac_jax.training.stage import StageConfig
from fac_jax.training.trainable import split
from fac_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Execution:
    """How a program goes about a step.

    Attributes:
      length: S, LLM positions of a row; logits are made for a multiple of `StageConfig.chunk`.
      attention_again: products of the size of a decoder's scores that the backward pass repeats (`ATTENTION_AGAIN`).
      encoder_again: likewise, of the audio encoder's.
    """

    length: int
    attention_again: int
    encoder_again: int


def _again(none: int, dots: int, save_attention: int, full: int) -> Mapping[Remat, int]:
    kept = save_attention
    return {"none": none, "dots": dots, "save_attention": kept, "full": full, "offload": kept}


# By kernel and `ModelConfig.remat`; the forward pass has two of them, its gradient four more. Scores and weighted
# values have batch dimensions in the einsum, so that "dots" does not keep them; in the map over samples and heads it
# does. "save_attention" keeps the weighted values, and the log-sum-exp of Splash's scores, but not cuDNN's.
ATTENTION_AGAIN: Final[Mapping[str, Mapping[Remat, int]]] = {
    "einsum_attend": _again(none=0, dots=2, save_attention=1, full=2),
    "mapped_attend": _again(none=1, dots=0, save_attention=1, full=3),
    "cudnn_attend": _again(none=1, dots=3, save_attention=3, full=3),
    # One backward kernel for queries, one for keys and values.
    "SplashAttend": _again(none=3, dots=5, save_attention=3, full=5),
}


@dataclasses.dataclass(frozen=True)
class _Flow:
    """Which gradients pass through a block: to its input, and whether anything of it is differentiated at all."""

    inwards: bool
    through: bool


def trainable_paths(params: Params, patterns: Sequence[str]) -> frozenset[str]:
    """Paths of the parameters that train, "backbone/norm/scale"; shapes are enough for `params`."""
    trainable, _ = split(params, patterns)
    return frozenset(_paths(trainable))


def _paths(tree: Params, where: str = "") -> list[str]:
    found = []
    for key, value in tree.items():
        found += _paths(value, f"{where}{key}/") if isinstance(value, dict) else [where + key]
    return found


def stage_blocks(model: ModelConfig, stage: StageConfig, stats: BatchStats) -> list[Block]:
    """What the forward pass of a stage's loss runs."""
    if stage.loss == "ctc":
        return [block for block in blocks(model, stats) if block.part == "audio encoder"] + ctc_blocks(model, stats)
    if stage.loss == "preference":
        return blocks(model, stats, stage.spoken_rows, stage.preference.speaks)
    found = blocks(model, stats, stage.spoken_rows, bool(stage.speech_weight))
    return found + ctc_blocks(model, stats) if stage.ctc_weight else found


def step_flops(
    model: ModelConfig,
    stage: StageConfig,
    trainable: Collection[str],
    stats: BatchStats,
    execution: Execution | None = None,
) -> dict[Part, float]:
    """FLOPs of one update, by part; the optimizer's, a few for every parameter, are left out.

    A product costs its forward pass, once more where its kernel trains, and once more where a gradient flows to its
    input. A frozen reference costs a forward pass.

    Args:
      model: sizes.
      stage: loss, rows with speech, preference.
      trainable: of `trainable_paths`.
      stats: `batch_stats` of a batch, for what is needed; `dense_stats`, for what a dense program executes.
      execution: adds what is computed again in the backward pass (`ModelConfig.remat`, chunks of logits, attention).
    """
    found = stage_blocks(model, stage, stats)
    flows: dict[str, _Flow] = {}
    parts: dict[Part, float] = {}
    for block in found:
        trains = any(path.startswith(block.path) for path in trainable)
        above = any(flows[name].through for name in block.reads)
        # Every layer of a scan is differentiated if one is.
        flow = _Flow(above or (block.stack and trains), above or trains)
        flows[block.name] = flow
        kernels = sum(flops for name, flops in block.products.items() if block.path + name in trainable)
        cost = block.flops + kernels
        if flow.inwards:
            cost += sum(block.products.values()) + 2 * block.attention
        if execution and block.part in ("text logits", "speech logits"):
            passes = 1 + flow.inwards + bool(kernels)
            cost += block.flops * _chunking(passes, stage.chunk, execution.length)
        elif execution and block.stack and flow.through:
            encoder = block.part == "audio encoder"
            again = execution.encoder_again if encoder else execution.attention_again
            cost += _repeated(block, model.remat, again)
        parts[block.part] = parts.get(block.part, 0.0) + cost
    if stage.loss == "preference" and stage.preference.reference == "frozen":
        for part, flops in by_part(found).items():
            parts[part] += flops
    return parts


def _chunking(passes: int, chunk: int, length: int) -> float:
    """What logits in chunks cost beyond `passes` over a row, in passes: the padding of the last, and once more."""
    if length <= chunk:
        return 0.0
    padded = -(-length // chunk) * chunk / length
    return (passes + (passes > 1)) * padded - passes


def _repeated(stack: Block, remat: Remat, attention_again: int) -> float:
    """FLOPs of layers that the backward pass repeats.

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
    """Counts a stage's FLOPs step by step.

    Attributes:
      model: sizes.
      stage: what is trained.
      trainable: of `trainable_paths`.
      peak: FLOP/s that the devices of this process can do together, None if that is not known.
    """

    model: ModelConfig
    stage: StageConfig
    trainable: frozenset[str]
    peak: float | None = None

    def flops(self, stats: BatchStats) -> float:
        """FLOPs that a batch with this work needs."""
        return float(np.sum(list(step_flops(self.model, self.stage, self.trainable, stats).values())))
