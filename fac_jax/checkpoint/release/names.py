"""The table of parameter names, ours and the release's (docs/model.md, section 10), and the names of other layouts.

Every row names one of our parameters, the torch names that fill it (`{e}` stands for an expert), and how a torch tensor
becomes ours. Stacked layers and experts are leading axes of ours, in the order of the names.

The layout of another published checkpoint is a list of regular expressions, tried in order. What it holds beyond our
model is named too, so that a name nobody thought of is a fault and not a warning.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal

import numpy as np

from fac_jax.models.config import DecoderConfig, ModelConfig

Layout = Literal["same", "transpose", "conv"]
Row = tuple[str, str, Layout]  # our dotted path, torch name, what happens to the tensor


def relaid(array: np.ndarray, layout: Layout) -> np.ndarray:
    """Returns a torch tensor in our layout, or ours in torch's: both others than "same" reverse the axes."""
    return array if layout == "same" else array.T


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


def affine(ours: str, torch: str, layout: Layout) -> tuple[Row, Row]:
    """Returns the rows of a kernel and its bias."""
    return (f"{ours}.kernel", f"{torch}.weight", layout), (f"{ours}.bias", f"{torch}.bias", "same")


def norm(ours: str, torch: str) -> tuple[Row, Row]:
    """Returns the rows of a norm's scale and bias."""
    return (f"{ours}.scale", f"{torch}.weight", "same"), (f"{ours}.bias", f"{torch}.bias", "same")


ATTENTION: Final[tuple[Row, ...]] = (
    ("attention_norm.scale", "input_layernorm.weight", "same"),
    ("attention.q.kernel", "self_attn.q_proj.weight", "transpose"),
    ("attention.k.kernel", "self_attn.k_proj.weight", "transpose"),
    ("attention.v.kernel", "self_attn.v_proj.weight", "transpose"),
    ("attention.o.kernel", "self_attn.o_proj.weight", "transpose"),
    ("attention.q_norm.scale", "self_attn.q_norm.weight", "same"),
    ("attention.k_norm.scale", "self_attn.k_norm.weight", "same"),
    ("mlp_norm.scale", "post_attention_layernorm.weight", "same"),
)
DENSE: Final[tuple[Row, ...]] = (
    ("mlp.gate.kernel", "mlp.gate_proj.weight", "transpose"),
    ("mlp.up.kernel", "mlp.up_proj.weight", "transpose"),
    ("mlp.down.kernel", "mlp.down_proj.weight", "transpose"),
)
SPARSE: Final[tuple[Row, ...]] = (
    ("moe.router.kernel", "mlp.gate.weight", "transpose"),
    ("moe.gate", "mlp.experts.{e}.gate_proj.weight", "transpose"),
    ("moe.up", "mlp.experts.{e}.up_proj.weight", "transpose"),
    ("moe.down", "mlp.experts.{e}.down_proj.weight", "transpose"),
)
ENCODER: Final[tuple[Row, ...]] = (
    *norm("attention_norm", "self_attn_layer_norm"),
    *affine("attention.q", "self_attn.q_proj", "transpose"),
    ("attention.k.kernel", "self_attn.k_proj.weight", "transpose"),
    *affine("attention.v", "self_attn.v_proj", "transpose"),
    *affine("attention.o", "self_attn.out_proj", "transpose"),
    *norm("mlp_norm", "final_layer_norm"),
    *affine("mlp.fc1", "fc1", "transpose"),
    *affine("mlp.fc2", "fc2", "transpose"),
)
SINGLE: Final[tuple[Row, ...]] = (
    *affine("encoder.conv1", "continuous_audio_tower.conv1", "conv"),
    *affine("encoder.conv2", "continuous_audio_tower.conv2", "conv"),
    *norm("encoder.norm", "continuous_audio_tower.ln_post"),
    *affine("encoder.proj", "continuous_audio_tower.proj", "transpose"),
    ("encoder.bos_eos", "continuous_audio_tower.audio_bos_eos_token.weight", "same"),
    ("speech_embedder.embed.embedding", "audio_tower.embed_tokens.weight", "same"),
    ("speech_embedder.discrete.kernel", "audio_tower.output_matching.weight", "transpose"),
    ("speech_embedder.continuous.kernel", "audio_tower.continual_output_matching.weight", "transpose"),
    ("backbone.embed.embedding", "language_model.model.embed_tokens.weight", "same"),
    ("backbone.decoder.norm.scale", "language_model.model.norm.weight", "same"),
    *affine("refined_head.pre", "audio_invert_tower.pre_matching", "transpose"),
    ("refined_head.input.kernel", "audio_invert_tower.input_matching.weight", "transpose"),
    ("refined_head.output.kernel", "audio_invert_tower.output_matching.weight", "transpose"),
    ("refined_head.decoder.norm.scale", "audio_invert_tower.crq_transformer.norm.weight", "same"),
)
UNEMBED: Final[Row] = ("backbone.unembed.embedding", "language_model.lm_head.weight", "same")
# Torch names that repeat a tensor that another name holds: (name, the name that is read).
TIED_SPEECH_HEAD = ("audio_invert_tower.lm_head.weight", "audio_tower.embed_tokens.weight")
TIED_TEXT_HEAD = ("language_model.lm_head.weight", "language_model.model.embed_tokens.weight")


def release_entries(config: ModelConfig) -> Iterator[Entry]:
    """The whole table for one configuration (scanned layers)."""
    yield from single(SINGLE if config.tie_embeddings else (*SINGLE, UNEMBED))
    layers = [f"continuous_audio_tower.layers.{i}." for i in range(config.audio.depth)]
    yield from stacked("encoder.layers", layers, ENCODER)
    yield from _decoder("backbone.decoder", "language_model.model.layers", config.text)
    yield from _decoder("refined_head.decoder", "audio_invert_tower.crq_transformer.layers", config.head)


def tied_heads(config: ModelConfig) -> list[tuple[str, str]]:
    """(torch name that repeats a tensor, torch name of that tensor)."""
    return [TIED_SPEECH_HEAD, TIED_TEXT_HEAD] if config.tie_embeddings else [TIED_SPEECH_HEAD]


def _decoder(ours: str, torch: str, config: DecoderConfig) -> Iterator[Entry]:
    """The rows of one Qwen3 stack; `ours` and `torch` are its prefixes."""
    for start, length in config.runs():
        layers = [f"{torch}.{i}." for i in range(start, start + length)]
        sparse = config.moe if config.is_sparse(start) else None
        block, experts = (SPARSE, sparse.num_experts) if sparse else (DENSE, 0)
        yield from stacked(f"{ours}.layers_{start}", layers, (*ATTENTION, *block), experts)


def single(rows: Iterable[Row]) -> Iterator[Entry]:
    """The entries of rows that are not stacked."""
    for ours, torch, layout in rows:
        yield Entry(tuple(ours.split(".")), np.array(torch), layout)


def stacked(ours: str, layers: Sequence[str], rows: Iterable[Row], experts: int = 0) -> Iterator[Entry]:
    """The entries of rows that every layer has; `ours` and `layers` are the beginnings of their names."""
    for path, torch, layout in rows:
        if "{e}" in torch:
            names = [[layer + torch.format(e=e) for e in range(experts)] for layer in layers]
        else:
            names = [layer + torch for layer in layers]
        yield Entry((*ours.split("."), *path.split(".")), np.array(names), layout)


@dataclasses.dataclass(frozen=True)
class Source:
    """A layout of torch names.

    Attributes:
      title: for messages.
      rules: pairs of a full-match regular expression of the release's names and what this layout calls them; a name
        that matches none is not part of it.
      ignored: full-match expressions of names that our model has no use for.
    """

    title: str
    rules: tuple[tuple[str, str], ...]
    ignored: tuple[str, ...] = ()

    def own_name(self, release_name: str) -> str | None:
        """The name of a tensor in this layout, None if it has no place in it."""
        for pattern, replacement in self.rules:
            match = re.fullmatch(pattern, release_name)
            if match:
                return match.expand(replacement)
        return None

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor is known and not used."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)


LM_HEAD: Final = (r"language_model\.lm_head\.weight", r"lm_head.weight")
RELEASE: Final = Source("Fun-Audio-Chat", ((r"(.*)", r"\1"),))
QWEN3: Final = Source("Qwen3", ((r"language_model\.model\.(.*)", r"model.\1"), LM_HEAD))
QWEN3_VL: Final = Source(
    "Qwen3-VL",
    ((r"language_model\.model\.(.*)", r"model.language_model.\1"), LM_HEAD),
    ignored=(r"model\.visual\..*",),
)
TEXT_SOURCES: Final[Mapping[str, Source]] = {"qwen3": QWEN3, "qwen3_moe": QWEN3, "qwen3_vl": QWEN3_VL}  # by model_type
WHISPER: Final = Source(
    "Whisper",
    (
        (r"continuous_audio_tower\.ln_post\.(.*)", r"model.encoder.layer_norm.\1"),
        (r"continuous_audio_tower\.((?:conv[12]|layers)\..*)", r"model.encoder.\1"),
    ),
    # The sinusoidal table of positions is computed, not loaded.
    ignored=(r"model\.encoder\.embed_positions\.weight", r"model\.decoder\..*", r"proj_out\.weight"),
)
QWEN3_HEAD: Final = Source(
    "Qwen3 for the refined head",
    ((r"audio_invert_tower\.crq_transformer\.(.*)", r"model.\1"),),
    ignored=(r"model\.embed_tokens\.weight", r"lm_head\.weight"),
)
