"""FLOPs of a training step, by part of the model: those a stage needs, and those its program executes."""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from flax import traverse_util

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.layers.linear import LORA_A, LORA_B
from fac_jax.layers.stack import Remat
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, Part, by_part
from fac_jax.models.lora import kernels, leaf_paths
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


def adapter_shares(params: Params) -> dict[str, tuple[str, float]]:
    """Returns the FLOPs of an adapter's products with A and with B as shares of those with their kernel.

    Args:
      params: shapes are enough.

    Returns:
      kernel and share of every A and B, all by their paths; empty without an adapter.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    found: dict[str, tuple[str, float]] = {}
    for module, kernel in kernels(flat).items():
        a, b, _ = leaf_paths(module)
        if a in flat:
            *_, inward, outward = flat[kernel].shape
            rank = flat[a].shape[-1]
            found |= {a: (kernel, rank / outward), b: (kernel, rank / inward)}
    return found


def with_adapters(blocks: Sequence[Block], shares: Mapping[str, tuple[str, float]]) -> list[Block]:
    """Returns blocks with the products of adapters (`adapter_shares`) next to those of their kernels."""
    found: list[Block] = []
    for block in blocks:
        names = {
            leaf.removeprefix(block.path): (kernel.removeprefix(block.path), share)
            for leaf, (kernel, share) in shares.items()
        }
        own = {leaf: (kernel, share) for leaf, (kernel, share) in names.items() if kernel in block.products}
        products = {leaf: block.products[kernel] * share for leaf, (kernel, share) in own.items()}
        unread = [leaf for leaf, (kernel, _) in own.items() if kernel in block.unread and leaf.endswith(LORA_B)]
        both = {**block.products, **products}
        found.append(dataclasses.replace(block, products=both, unread=(*block.unread, *unread)))
    return found


def step_flops(
    model: ModelConfig,
    stage: StageConfig,
    trainable: Collection[str],
    stats: BatchStats,
    execution: Execution | None = None,
    adapters: Mapping[str, tuple[str, float]] = MappingProxyType({}),
) -> dict[Part, float]:
    """Counts the FLOPs of one update, by part; those of the optimizer, a few per parameter, are left out.

    A product costs its forward pass, once more where its kernel trains, and once more where a gradient flows to its
    input. A reference that is not stored costs a forward pass.

    Args:
      model: sizes.
      stage: what is trained, for its loss.
      trainable: of `trainable_paths`.
      stats: `batch_stats` of a batch for the FLOPs that are needed, `dense_stats` for those that a dense program
        executes.
      execution: adds what is computed again in the backward pass (`ModelConfig.remat`, chunks of logits, attention).
      adapters: of `adapter_shares`.
    """
    plain = stage.loss.blocks(model, stats)
    found = with_adapters(plain, adapters)
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
        else:  # the gradient of A comes through B
            cost += sum(flops for name, flops in block.products.items() if name.endswith(LORA_B))
        if execution and block.chunk is not None:
            passes = 1 + inwards + bool(kernels)
            cost += block.flops * _chunking(passes, block.chunk, execution.length)
        elif execution and block.stack and inwards:
            encoder = block.part == "audio encoder"
            again = execution.encoder_again if encoder else execution.attention_again
            cost += _repeated(block, model.remat, again)
        parts[block.part] = parts.get(block.part, 0.0) + cost
    reference = {"frozen": found, "adapter_off": plain}.get(stage.loss.needs_reference or "", [])
    for part, flops in by_part(reference).items():
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
        inner = (flops for name, flops in stack.products.items() if re.match(f"attention/.*{LORA_A}$", name))
        cost += sum(inner)  # what B reads is not kept
    if remat == "dots":  # keeps no product of experts
        cost += sum(flops for name, flops in stack.products.items() if re.match("moe/(gate|up|down)", name))
    return cost


@dataclasses.dataclass(frozen=True)
class Meter:
    """Counts the FLOPs of a stage, step by step.

    Attributes:
      trainable: of `trainable_paths`.
      peak: FLOP/s that all devices of the run can do together, None if that is not known.
      hosts: number of hosts that share the rows of a batch in about equal parts.
      adapters: of `adapter_shares`.
    """

    model: ModelConfig
    stage: StageConfig
    trainable: frozenset[str]
    peak: float | None = None
    hosts: int = 1
    adapters: Mapping[str, tuple[str, float]] = dataclasses.field(default_factory=dict)

    def flops(self, stats: BatchStats) -> float:
        """Counts the FLOPs that an update needs on all hosts together, from the counts of this host's rows."""
        parts = step_flops(self.model, self.stage, self.trainable, stats, adapters=self.adapters)
        return self.hosts * float(np.sum(list(parts.values())))
