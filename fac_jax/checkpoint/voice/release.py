"""Parameters of the voice from torch names (docs/codec_model.md, sections 1.6, 2.5 and 3.9).

Rows of the tables are as in `checkpoint/release/names.py`. Weight norms are folded first, so that every kernel has one
name.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import jax
import numpy as np

from fac_jax.checkpoint.release.names import Entry, Row, affine, norm, single, stacked
from fac_jax.checkpoint.release.params import filled, refuse_unfit, unfit
from fac_jax.checkpoint.store import shapes_of
from fac_jax.codec.cosyvoice.codec import PARTS
from fac_jax.types import InputError, Params

TOKENIZER: Final[tuple[Row, ...]] = (
    *affine("conv1", "encoder.conv1", "conv"),
    *affine("conv2", "encoder.conv2", "conv"),
    *affine("project_down", "quantizer._codebook.project_down", "transpose"),
)
TOKENIZER_LAYER: Final[tuple[Row, ...]] = (
    *norm("attention_norm", "attn_ln"),
    *affine("attention.q", "attn.query", "transpose"),
    ("attention.k.kernel", "attn.key.weight", "transpose"),
    *affine("attention.v", "attn.value", "transpose"),
    *affine("attention.o", "attn.out", "transpose"),
    ("attention.fsmn.kernel", "attn.fsmn_block.weight", "conv"),
    *norm("mlp_norm", "mlp_ln"),
    *affine("mlp.fc1", "mlp.0", "transpose"),
    *affine("mlp.fc2", "mlp.2", "transpose"),
)
ESTIMATOR: Final = "decoder.estimator"
FLOW: Final[tuple[Row, ...]] = (
    ("embed.embedding", "input_embedding.weight", "same"),
    *affine("speaker_proj", "spk_embed_affine_layer", "transpose"),
    *affine("lookahead.conv1", "pre_lookahead_layer.conv1", "conv"),
    *affine("lookahead.conv2", "pre_lookahead_layer.conv2", "conv"),
    *affine("dit.time.fc1", f"{ESTIMATOR}.time_embed.time_mlp.0", "transpose"),
    *affine("dit.time.fc2", f"{ESTIMATOR}.time_embed.time_mlp.2", "transpose"),
    *affine("dit.input", f"{ESTIMATOR}.input_embed.proj", "transpose"),
    *affine("dit.position.conv1", f"{ESTIMATOR}.input_embed.conv_pos_embed.conv1.0", "conv"),
    *affine("dit.position.conv2", f"{ESTIMATOR}.input_embed.conv_pos_embed.conv2.0", "conv"),
    *affine("dit.final", f"{ESTIMATOR}.norm_out.linear", "transpose"),
    *affine("dit.output", f"{ESTIMATOR}.proj_out", "transpose"),
)
FLOW_LAYER: Final[tuple[Row, ...]] = (
    *affine("modulation", "attn_norm.linear", "transpose"),
    *affine("attention.q", "attn.to_q", "transpose"),
    *affine("attention.k", "attn.to_k", "transpose"),
    *affine("attention.v", "attn.to_v", "transpose"),
    *affine("attention.o", "attn.to_out.0", "transpose"),
    *affine("fc1", "ff.ff.0.0", "transpose"),
    *affine("fc2", "ff.ff.2", "transpose"),
)
INVERSE_FREQUENCIES: Final = f"{ESTIMATOR}.rotary_embed.inv_freq"  # a buffer, which we compute
VOCODER_PREFIX: Final = "generator."  # some files begin all names of the vocoder with it
VOCODER: Final[tuple[Row, ...]] = (
    *affine("harmonics.linear", "m_source.l_linear", "transpose"),
    *affine("conv_pre", "conv_pre", "conv"),
    *affine("conv_post", "conv_post", "conv"),
    *affine("f0_predictor.classifier", "f0_predictor.classifier", "transpose"),
    *(row for i in range(5) for row in affine(f"f0_predictor.conv{i}", f"f0_predictor.condnet.{2 * i}", "conv")),
)


def part_entries(part: str, config: Any) -> Iterator[Entry]:
    """Yields the whole table of a part of the voice."""
    if part == "tokenizer":
        yield from single(TOKENIZER)
        yield from stacked("layers", [f"encoder.blocks.{i}." for i in range(config.depth)], TOKENIZER_LAYER)
        return
    if part == "flow":
        yield from single(FLOW)
        layers = [f"{ESTIMATOR}.transformer_blocks.{i}." for i in range(config.dit.depth)]
        yield from stacked("dit.layers", layers, FLOW_LAYER)
        return
    yield from single(VOCODER)
    for i in range(len(config.upsample_rates)):
        yield from single(affine(f"ups_{i}", f"ups.{i}", "conv"))
        yield from single(affine(f"source_downs_{i}", f"source_downs.{i}", "conv"))
        yield from single(_block(f"source_blocks_{i}", f"source_resblocks.{i}", config.source_dilations[i]))
        for j, dilations in enumerate(config.block_dilations):
            number = i * len(config.block_dilations) + j
            yield from single(_block(f"blocks_{number}", f"resblocks.{number}", dilations))


def _block(ours: str, torch: str, dilations: Sequence[int]) -> Iterator[Row]:
    for i in range(len(dilations)):
        for half in (1, 2):
            yield from affine(f"{ours}.conv{half}_{i}", f"{torch}.convs{half}.{i}", "conv")
            yield f"{ours}.snake{half}_{i}.alpha", f"{torch}.activations{half}.{i}.alpha", "same"


PITCH: Final = "f0_predictor"
# Endings of a norm and of its direction, as newer and older versions of PyTorch name them.
WEIGHT_NORMS: Final = (
    (".parametrizations.weight.original0", ".parametrizations.weight.original1"),
    (".weight_g", ".weight_v"),
)


def from_torch(part: str, tensors: Mapping[str, np.ndarray], config: Any) -> Params:
    """Returns our parameters of a part of the voice: float32, those of the pitch float64 (`codec.source`).

    Args:
      part: name in `codec.PARTS`.
      tensors: all tensors of the part by torch names; weight norms may be folded.

    Raises:
      InputError: names are missing or unknown, or shapes are not those of the config; one message lists them all.
    """
    prefix = VOCODER_PREFIX if part == "vocoder" else ""
    plain = fold({name.removeprefix(prefix): np.asarray(tensor) for name, tensor in tensors.items()})
    entries = list(part_entries(part, config))
    used, problems = unfit(entries, part_shapes(part, config), {name: a.shape for name, a in plain.items()})
    problems |= dict.fromkeys(plain.keys() - used - ({INVERSE_FREQUENCIES} if part == "flow" else set()), "is unknown")
    refuse_unfit(dict(sorted(problems.items())), f"the {part}")
    return {
        name: jax.tree.map(functools.partial(np.asarray, dtype=np.float64 if name == PITCH else np.float32), value)
        for name, value in filled(entries, plain).items()
    }


def part_shapes(part: str, config: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Returns the shape of every parameter of a part of the voice by its path; nothing is allocated."""
    return shapes_of(jax.eval_shape(lambda: PARTS[part].init(config, jax.random.key(0))))


def fold(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Replaces the norm g and the direction v of every PyTorch weight norm by the float64 kernel `g v / |v|`.

    |v| is over all axes but the first.

    Raises:
      InputError: one of a pair is missing, or they do not fit.
    """
    out = dict(tensors)
    for endings in WEIGHT_NORMS:
        for stem in sorted({name.removesuffix(end) for end in endings for name in tensors if name.endswith(end)}):
            norm, direction = (stem + end for end in endings)
            if norm not in tensors:
                raise InputError(f"{norm} is missing, the weight norm of {direction}")
            if direction not in tensors:
                raise InputError(f"{norm} is a weight norm without its direction")
            g, v = out.pop(norm), out.pop(direction).astype(np.float64)
            wanted = (len(v), *[1] * (v.ndim - 1))
            if g.shape != wanted:
                raise InputError(f"{norm} is {list(g.shape)}, must be {list(wanted)}")
            out[f"{stem}.weight"] = g * (v / np.linalg.norm(v.reshape(len(v), -1), axis=1).reshape(wanted))
    return out
