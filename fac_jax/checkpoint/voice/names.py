"""The voice's parameter names, ours and those of the release (docs/codec_model.md, sections 1.6, 2.5 and 3.9).

Rows as in `names.py`. Weight norms are folded first (`fac_jax/checkpoint/voice/weight_norm.py`), so that every kernel
has one name.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from fac_jax.checkpoint.release.names import Entry, Layout
from fac_jax.codec.cosyvoice.config import FlowConfig, TokenizerConfig, VocoderConfig

Row = tuple[str, str, Layout]


def _affine(ours: str, torch: str, layout: Layout) -> tuple[Row, Row]:
    return (f"{ours}.kernel", f"{torch}.weight", layout), (f"{ours}.bias", f"{torch}.bias", "same")


def _norm(ours: str, torch: str) -> tuple[Row, Row]:
    return (f"{ours}.scale", f"{torch}.weight", "same"), (f"{ours}.bias", f"{torch}.bias", "same")


TOKENIZER: Final[tuple[Row, ...]] = (
    *_affine("conv1", "encoder.conv1", "conv"),
    *_affine("conv2", "encoder.conv2", "conv"),
    *_affine("project_down", "quantizer._codebook.project_down", "transpose"),
)
TOKENIZER_LAYER: Final[tuple[Row, ...]] = (
    *_norm("attention_norm", "attn_ln"),
    *_affine("attention.q", "attn.query", "transpose"),
    ("attention.k.kernel", "attn.key.weight", "transpose"),
    *_affine("attention.v", "attn.value", "transpose"),
    *_affine("attention.o", "attn.out", "transpose"),
    ("attention.fsmn.kernel", "attn.fsmn_block.weight", "conv"),
    *_norm("mlp_norm", "mlp_ln"),
    *_affine("mlp.fc1", "mlp.0", "transpose"),
    *_affine("mlp.fc2", "mlp.2", "transpose"),
)
ESTIMATOR: Final = "decoder.estimator"
FLOW: Final[tuple[Row, ...]] = (
    ("embed.embedding", "input_embedding.weight", "same"),
    *_affine("speaker_proj", "spk_embed_affine_layer", "transpose"),
    *_affine("lookahead.conv1", "pre_lookahead_layer.conv1", "conv"),
    *_affine("lookahead.conv2", "pre_lookahead_layer.conv2", "conv"),
    *_affine("dit.time.fc1", f"{ESTIMATOR}.time_embed.time_mlp.0", "transpose"),
    *_affine("dit.time.fc2", f"{ESTIMATOR}.time_embed.time_mlp.2", "transpose"),
    *_affine("dit.input", f"{ESTIMATOR}.input_embed.proj", "transpose"),
    *_affine("dit.position.conv1", f"{ESTIMATOR}.input_embed.conv_pos_embed.conv1.0", "conv"),
    *_affine("dit.position.conv2", f"{ESTIMATOR}.input_embed.conv_pos_embed.conv2.0", "conv"),
    *_affine("dit.final", f"{ESTIMATOR}.norm_out.linear", "transpose"),
    *_affine("dit.output", f"{ESTIMATOR}.proj_out", "transpose"),
)
FLOW_LAYER: Final[tuple[Row, ...]] = (
    *_affine("modulation", "attn_norm.linear", "transpose"),
    *_affine("attention.q", "attn.to_q", "transpose"),
    *_affine("attention.k", "attn.to_k", "transpose"),
    *_affine("attention.v", "attn.to_v", "transpose"),
    *_affine("attention.o", "attn.to_out.0", "transpose"),
    *_affine("fc1", "ff.ff.0.0", "transpose"),
    *_affine("fc2", "ff.ff.2", "transpose"),
)
INVERSE_FREQUENCIES: Final = f"{ESTIMATOR}.rotary_embed.inv_freq"  # a buffer, which we compute
VOCODER: Final[tuple[Row, ...]] = (
    *_affine("harmonics.linear", "m_source.l_linear", "transpose"),
    *_affine("conv_pre", "conv_pre", "conv"),
    *_affine("conv_post", "conv_post", "conv"),
    *_affine("f0_predictor.classifier", "f0_predictor.classifier", "transpose"),
    *_affine("f0_predictor.conv0", "f0_predictor.condnet.0", "conv"),
    *_affine("f0_predictor.conv1", "f0_predictor.condnet.2", "conv"),
    *_affine("f0_predictor.conv2", "f0_predictor.condnet.4", "conv"),
    *_affine("f0_predictor.conv3", "f0_predictor.condnet.6", "conv"),
    *_affine("f0_predictor.conv4", "f0_predictor.condnet.8", "conv"),
)


def tokenizer_entries(config: TokenizerConfig) -> Iterator[Entry]:
    """Yields the whole table of the tokenizer."""
    yield from _single(TOKENIZER)
    yield from _stacked("layers", [f"encoder.blocks.{i}." for i in range(config.depth)], TOKENIZER_LAYER)


def flow_entries(config: FlowConfig) -> Iterator[Entry]:
    """Yields the whole table of the flow."""
    yield from _single(FLOW)
    layers = [f"{ESTIMATOR}.transformer_blocks.{i}." for i in range(config.dit.depth)]
    yield from _stacked("dit.layers", layers, FLOW_LAYER)


def vocoder_entries(config: VocoderConfig) -> Iterator[Entry]:
    """Yields the whole table of the vocoder."""
    yield from _single(VOCODER)
    for i in range(len(config.upsample_rates)):
        yield from _single(_affine(f"ups_{i}", f"ups.{i}", "conv"))
        yield from _single(_affine(f"source_downs_{i}", f"source_downs.{i}", "conv"))
        yield from _single(_block(f"source_blocks_{i}", f"source_resblocks.{i}", config.source_dilations[i]))
        for j, dilations in enumerate(config.block_dilations):
            number = i * len(config.block_dilations) + j
            yield from _single(_block(f"blocks_{number}", f"resblocks.{number}", dilations))


def _block(ours: str, torch: str, dilations: Sequence[int]) -> Iterator[Row]:
    for i in range(len(dilations)):
        for half in (1, 2):
            yield from _affine(f"{ours}.conv{half}_{i}", f"{torch}.convs{half}.{i}", "conv")
            yield f"{ours}.snake{half}_{i}.alpha", f"{torch}.activations{half}.{i}.alpha", "same"


def _single(rows: Iterator[Row] | Sequence[Row]) -> Iterator[Entry]:
    for ours, torch, layout in rows:
        yield Entry(tuple(ours.split(".")), np.array(torch), layout)


def _stacked(ours: str, layers: Sequence[str], rows: Sequence[Row]) -> Iterator[Entry]:
    for path, torch, layout in rows:
        yield Entry((*ours.split("."), *path.split(".")), np.array([layer + torch for layer in layers]), layout)
