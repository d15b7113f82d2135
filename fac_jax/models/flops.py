"""Floating-point operations of the model's matrix products, counted from its sizes (two for every multiply-add).

Norms, softmax, activations and look-ups are left out, as is usual for model FLOPs utilisation (Chowdhery et al. 2022,
PaLM, appendix B). The blocks say what reads what, so that `fac_jax/training/flops.py` can tell the gradients that a
choice of trainable parameters needs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.models.config import DecoderConfig, ModelConfig

Part = Literal[
    "audio encoder", "speech embedder", "backbone", "text logits", "refined head", "speech logits", "ctc logits"
]


@dataclasses.dataclass(frozen=True)
class Block:
    """Consecutive matrix products of the forward pass, and the parameters that they read.

    Attributes:
      name: unique name of the block.
      part: part of the model, for sums by part.
      path: beginning of the paths of its parameters.
      reads: names of the blocks whose outputs are its inputs.
      products: FLOPs of the forward pass by path of the parameter under `path`.
      attention: FLOPs of scores and of weighted values together, half each.
      stack: whether it is a scanned stack of layers, to which `remat` applies.
      unread: products at the end of a layer, whose output no gradient needs.
      chunk: LLM positions that are computed at a time, forward and (again) backward; None for all positions at once.
    """

    name: str
    part: Part
    path: str
    reads: tuple[str, ...] = ()
    products: Mapping[str, float] = dataclasses.field(default_factory=dict)
    attention: float = 0.0
    stack: bool = False
    unread: tuple[str, ...] = ()
    chunk: int | None = None

    @property
    def flops(self) -> float:
        """Returns the FLOPs of the forward pass."""
        return sum(self.products.values()) + self.attention


def encoder_blocks(config: ModelConfig, stats: BatchStats) -> list[Block]:
    """Lists the blocks of the continuous audio encoder."""
    c = config.audio
    layers = c.depth * 2.0 * stats.frames
    square, mlp = layers * c.width**2, layers * c.width * c.mlp_width
    products = {f"attention/{name}/kernel": square for name in "qkvo"} | {f"mlp/fc{i}/kernel": mlp for i in (1, 2)}
    conv1, conv2 = 6.0 * stats.mel_frames * c.mel_bins * c.width, 6.0 * stats.frames * c.width**2
    projection = 2.0 * stats.audio_frames * c.width * config.text.width
    attention, part = c.depth * 4.0 * stats.frame_pairs * c.width, "audio encoder"
    layer = "encoder/layers/" if config.scan_layers else "encoder/layers_0/"
    return [
        Block("conv1", part, "encoder/conv1/", (), {"kernel": conv1}),
        Block("conv2", part, "encoder/conv2/", ("conv1",), {"kernel": conv2}),
        Block("encoder", part, layer, ("conv2",), products, attention, True, ("mlp/fc2/kernel",)),
        Block("encoder norm", part, "encoder/norm/", ("encoder",)),
        Block("proj", part, "encoder/proj/", ("encoder norm",), {"kernel": projection}),
    ]


def decoder_blocks(
    config: DecoderConfig, part: Part, path: str, reads: tuple[str, ...], positions: float, pairs: float
) -> list[Block]:
    """Lists the blocks of a Qwen3 decoder: one for each run of equal layers, and the final norm, named after the part.

    Of a mixture of experts only the experts that a token is sent to count, and the router.
    """
    c, blocks = config, []
    q, kv = (2.0 * positions * c.width * heads * c.head_dim for heads in (c.num_heads, c.num_kv_heads))
    attention = {"q": q, "k": kv, "v": kv, "o": q}
    for start, length in c.runs():
        products = {f"attention/{name}/kernel": length * flops for name, flops in attention.items()}
        if c.is_sparse(start):
            assert c.moe is not None
            router = 2.0 * positions * c.width * c.moe.num_experts
            expert = 2.0 * positions * c.moe.top_k * c.width * c.moe.expert_width
            products |= {"moe/router/kernel": length * router}
            products |= {f"moe/{name}": length * expert for name in ("gate", "up", "down")}
            unread = ()  # the weights of the experts' outputs have a gradient
        else:
            mlp = 2.0 * positions * c.width * c.mlp_width
            products |= {f"mlp/{name}/kernel": length * mlp for name in ("gate", "up", "down")}
            unread = ("mlp/down/kernel",)
        scores = length * 4.0 * pairs * c.num_heads * c.head_dim
        name = f"{part} {start}"
        blocks.append(Block(name, part, f"{path}layers_{start}/", reads, products, scores, True, unread))
        reads = (name,)
    return [*blocks, Block(part, part, f"{path}norm/", reads)]


def blocks(config: ModelConfig, stats: BatchStats, speaks: bool = True, chunk: int | None = None) -> list[Block]:
    """Lists the blocks of one forward pass, every block after those that it reads.

    Args:
      speaks: False leaves the refined head and its logits out.
      chunk: LLM positions whose logits exist at the same time; None for all.
    """
    width, positions = config.text.width, float(np.sum(stats.positions))
    speech = width * (config.group_size if config.grouping == "concat" else 1)
    discrete, continuous = 2.0 * stats.groups * speech * width, 2.0 * stats.features * width**2
    heard = [
        *encoder_blocks(config, stats),
        Block("continuous", "speech embedder", "speech_embedder/continuous/", ("proj",), {"kernel": continuous}),
    ]
    if config.user_audio == "tokens":
        heard = []
    if heard and config.duplex is not None:
        kernel = {"kernel": 2.0 * stats.beside * width**2}
        heard.append(Block("beside", "speech embedder", "beside/", ("continuous",), kernel))
    inputs = ("text table", "discrete", *(block.name for block in heard if block.part == "speech embedder"))
    table = "backbone/embed/" if config.tie_embeddings else "backbone/unembed/"
    found = [
        *heard,
        Block("speech table", "speech embedder", "speech_embedder/embed/"),
        Block("discrete", "speech embedder", "speech_embedder/discrete/", ("speech table",), {"kernel": discrete}),
        Block("text table", "backbone", "backbone/embed/"),
        *decoder_blocks(config.text, "backbone", "backbone/decoder/", inputs, positions, float(np.sum(stats.pairs))),
        _logits("text logits", table, "backbone", positions * width * config.vocab_size, chunk),
    ]
    return found + head_blocks(config, stats, chunk) if speaks else found


def head_blocks(config: ModelConfig, stats: BatchStats, chunk: int | None = None) -> list[Block]:
    """Lists the blocks of the Speech Refined Head and of its logits."""
    width, head, part = config.text.width, config.head, "refined head"
    fine, pairs = float(np.sum(stats.positions)) * config.group_size, float(np.sum(stats.fine_pairs))
    opening, resize = 2.0 * fine * width**2, 2.0 * fine * width * head.width
    return [
        Block("pre", part, "refined_head/pre/", ("backbone",), {"kernel": opening}),
        Block("head input", part, "refined_head/input/", ("pre", "speech table"), {"kernel": resize}),
        *decoder_blocks(head, part, "refined_head/decoder/", ("head input",), fine, pairs),
        Block("head output", part, "refined_head/output/", (part,), {"kernel": resize}),
        _logits("speech logits", "speech_embedder/embed/", "head output", fine * width * config.codebook_size, chunk),
    ]


def ctc_blocks(config: ModelConfig, stats: BatchStats) -> list[Block]:
    """Lists the product of the encoder's 25 Hz frames at every LLM position with the text embedding."""
    multiplied = float(stats.features) * config.group_size * config.text.width * config.vocab_size
    return [_logits("ctc logits", "backbone/embed/", "proj", multiplied)]


def _logits(part: Part, table: str, reads: str, multiplied: float, chunk: int | None = None) -> Block:
    return Block(part, part, table, (reads,), {"embedding": 2.0 * multiplied}, chunk=chunk)


def by_part(found: Sequence[Block]) -> dict[Part, float]:
    """Sums the FLOPs of the forward pass by part."""
    parts: dict[Part, float] = {}
    for block in found:
        parts[block.part] = parts.get(block.part, 0.0) + block.flops
    return parts
