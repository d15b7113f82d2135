"""The table of parameter names: ours and the release's (docs/model.md, section 10).

Every row names one of our parameters, the torch names that fill it (`{e}` stands for an expert), and how a torch tensor
becomes ours. Stacked layers and experts are leading axes of ours, in the order of the names.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from fac_jax.models.config import DecoderConfig, ModelConfig

Layout = Literal["same", "transpose", "conv"]

TO_OURS: dict[Layout, Callable[[np.ndarray], np.ndarray]] = {
    "same": lambda a: a,
    "transpose": lambda a: a.T,
    "conv": lambda a: a.transpose(2, 1, 0),
}
# Each of the three layouts is its own inverse: reversing the axes twice gives the tensor back.
TO_TORCH = TO_OURS


@dataclasses.dataclass(frozen=True)
class Entry:
    """One parameter of ours and the torch tensors that make it.

    Attributes:
      path: keys in our parameter tree.
      names: torch names; an array of strings whose shape is the leading (stacked) axes of our parameter.
      layout: what happens to each tensor.
    """

    path: tuple[str, ...]
    names: np.ndarray
    layout: Layout


ATTENTION: tuple[tuple[str, str, Layout], ...] = (
    ("attention_norm.scale", "input_layernorm.weight", "same"),
    ("attention.q.kernel", "self_attn.q_proj.weight", "transpose"),
    ("attention.k.kernel", "self_attn.k_proj.weight", "transpose"),
    ("attention.v.kernel", "self_attn.v_proj.weight", "transpose"),
    ("attention.o.kernel", "self_attn.o_proj.weight", "transpose"),
    ("attention.q_norm.scale", "self_attn.q_norm.weight", "same"),
    ("attention.k_norm.scale", "self_attn.k_norm.weight", "same"),
    ("mlp_norm.scale", "post_attention_layernorm.weight", "same"),
)
DENSE: tuple[tuple[str, str, Layout], ...] = (
    ("mlp.gate.kernel", "mlp.gate_proj.weight", "transpose"),
    ("mlp.up.kernel", "mlp.up_proj.weight", "transpose"),
    ("mlp.down.kernel", "mlp.down_proj.weight", "transpose"),
)
SPARSE: tuple[tuple[str, str, Layout], ...] = (
    ("moe.router.kernel", "mlp.gate.weight", "transpose"),
    ("moe.gate", "mlp.experts.{e}.gate_proj.weight", "transpose"),
    ("moe.up", "mlp.experts.{e}.up_proj.weight", "transpose"),
    ("moe.down", "mlp.experts.{e}.down_proj.weight", "transpose"),
)
ENCODER: tuple[tuple[str, str, Layout], ...] = (
    ("attention_norm.scale", "self_attn_layer_norm.weight", "same"),
    ("attention_norm.bias", "self_attn_layer_norm.bias", "same"),
    ("attention.q.kernel", "self_attn.q_proj.weight", "transpose"),
    ("attention.q.bias", "self_attn.q_proj.bias", "same"),
    ("attention.k.kernel", "self_attn.k_proj.weight", "transpose"),
    ("attention.v.kernel", "self_attn.v_proj.weight", "transpose"),
    ("attention.v.bias", "self_attn.v_proj.bias", "same"),
    ("attention.o.kernel", "self_attn.out_proj.weight", "transpose"),
    ("attention.o.bias", "self_attn.out_proj.bias", "same"),
    ("mlp_norm.scale", "final_layer_norm.weight", "same"),
    ("mlp_norm.bias", "final_layer_norm.bias", "same"),
    ("mlp.fc1.kernel", "fc1.weight", "transpose"),
    ("mlp.fc1.bias", "fc1.bias", "same"),
    ("mlp.fc2.kernel", "fc2.weight", "transpose"),
    ("mlp.fc2.bias", "fc2.bias", "same"),
)
SINGLE: tuple[tuple[str, str, Layout], ...] = (
    ("encoder.conv1.kernel", "continuous_audio_tower.conv1.weight", "conv"),
    ("encoder.conv1.bias", "continuous_audio_tower.conv1.bias", "same"),
    ("encoder.conv2.kernel", "continuous_audio_tower.conv2.weight", "conv"),
    ("encoder.conv2.bias", "continuous_audio_tower.conv2.bias", "same"),
    ("encoder.norm.scale", "continuous_audio_tower.ln_post.weight", "same"),
    ("encoder.norm.bias", "continuous_audio_tower.ln_post.bias", "same"),
    ("encoder.proj.kernel", "continuous_audio_tower.proj.weight", "transpose"),
    ("encoder.proj.bias", "continuous_audio_tower.proj.bias", "same"),
    ("encoder.bos_eos", "continuous_audio_tower.audio_bos_eos_token.weight", "same"),
    ("speech_embedder.embed.embedding", "audio_tower.embed_tokens.weight", "same"),
    ("speech_embedder.discrete.kernel", "audio_tower.output_matching.weight", "transpose"),
    ("speech_embedder.continuous.kernel", "audio_tower.continual_output_matching.weight", "transpose"),
    ("backbone.embed.embedding", "language_model.model.embed_tokens.weight", "same"),
    ("backbone.decoder.norm.scale", "language_model.model.norm.weight", "same"),
    ("refined_head.pre.kernel", "audio_invert_tower.pre_matching.weight", "transpose"),
    ("refined_head.pre.bias", "audio_invert_tower.pre_matching.bias", "same"),
    ("refined_head.input.kernel", "audio_invert_tower.input_matching.weight", "transpose"),
    ("refined_head.output.kernel", "audio_invert_tower.output_matching.weight", "transpose"),
    ("refined_head.decoder.norm.scale", "audio_invert_tower.crq_transformer.norm.weight", "same"),
)
UNEMBED: tuple[str, str, Layout] = ("backbone.unembed.embedding", "language_model.lm_head.weight", "same")
# Torch names that repeat a tensor that another name holds: (name, the name that is read).
TIED_SPEECH_HEAD = ("audio_invert_tower.lm_head.weight", "audio_tower.embed_tokens.weight")
TIED_TEXT_HEAD = ("language_model.lm_head.weight", "language_model.model.embed_tokens.weight")


def release_entries(config: ModelConfig) -> Iterator[Entry]:
    """The whole table for one configuration (scanned layers)."""
    for ours, torch, layout in SINGLE if config.tie_embeddings else (*SINGLE, UNEMBED):
        yield Entry(tuple(ours.split(".")), np.array(torch), layout)
    layers = [f"continuous_audio_tower.layers.{i}." for i in range(config.audio.depth)]
    yield from _stack("encoder.layers", layers, ENCODER, 0)
    yield from decoder_entries("backbone.decoder", "language_model.model.layers", config.text)
    yield from decoder_entries("refined_head.decoder", "audio_invert_tower.crq_transformer.layers", config.head)


def decoder_entries(ours: str, torch: str, config: DecoderConfig) -> Iterator[Entry]:
    """The rows of one Qwen3 stack; `ours` and `torch` are its prefixes."""
    for start, length in config.runs():
        layers = [f"{torch}.{i}." for i in range(start, start + length)]
        sparse = config.moe if config.is_sparse(start) else None
        block, experts = (SPARSE, sparse.num_experts) if sparse else (DENSE, 0)
        yield from _stack(f"{ours}.layers_{start}", layers, (*ATTENTION, *block), experts)


def _stack(ours: str, layers: list[str], rows: tuple[tuple[str, str, Layout], ...], experts: int) -> Iterator[Entry]:
    for path, torch, layout in rows:
        if "{e}" in torch:
            names = [[layer + torch.format(e=e) for e in range(experts)] for layer in layers]
        else:
            names = [layer + torch for layer in layers]
        yield Entry((*ours.split("."), *path.split(".")), np.array(names), layout)
