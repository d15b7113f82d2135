"""Limits of the values of a model's configuration, for configurations that come from a file or a command line."""

import math
from collections.abc import Iterator
from typing import Final

from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from fac_jax.text.special_ids import SPEECH_SPECIALS
from fac_jax.types import InputError

DTYPES: Final = ("float32", "bfloat16", "float16")


def check(config: ModelConfig) -> None:
    """Refuses a configuration of the right types whose values make no model.

    Raises:
      InputError: names the key, its value and its limit.
    """
    for key, value, fits, limit in _limits(config):
        if not fits:
            raise InputError(f"model config key {key} is {value!r}, must be {limit}")


Limit = tuple[str, object, bool, str]  # key, its value, whether it is within its limit, the limit in words


def _limits(config: ModelConfig) -> Iterator[Limit]:
    for key in ("vocab_size", "codebook_size", "group_size", "context"):
        yield _above_zero(key, getattr(config, key))
    yield "delay_groups", config.delay_groups, config.delay_groups >= 0, "0 or more"
    yield from _duplex(config)
    scale = config.user_audio_scale
    yield "user_audio_scale", scale, math.isfinite(scale) and scale >= 0, "a finite number, 0 or more"
    for key in ("dtype", "param_dtype"):
        yield key, getattr(config, key), getattr(config, key) in DTYPES, f"one of {', '.join(DTYPES)}"
    yield _above_zero("text.depth", config.text.depth)
    yield "head.depth", config.head.depth, config.head.depth >= 0, "0 or more"
    yield from _decoder("text", config.text)
    yield from _decoder("head", config.head)
    yield from _encoder(config.audio)
    for key, value in vars(config.special).items():
        name = "codebook_size" if key in SPEECH_SPECIALS else "vocab_size"
        rows = getattr(config, name)
        yield f"special.{key}", value, 0 <= value < rows, f"from 0 to {rows - 1}, for {name} is {rows}"


def _duplex(config: ModelConfig) -> Iterator[Limit]:
    duplex = config.duplex
    if duplex is None:
        return
    waveform = config.user_audio == "waveform"
    yield "user_audio", config.user_audio, waveform, '"waveform" where duplex is set, whose calls are heard by features'
    block = 2 * config.group_size
    wanted = f"a multiple of {block} where duplex is set, the encoder positions of a slot"
    yield "audio.n_window", config.n_window, config.n_window % block == 0, wanted
    for key in ("sinks", "window", "head_window"):
        yield _above_zero(f"duplex.{key}", getattr(duplex, key))
    for key in ("idle_weight", "turn_weight", "edge_weight"):
        value = getattr(duplex, key)
        yield f"duplex.{key}", value, math.isfinite(value) and value > 0, "a finite number above 0"
    for key in ("loudest_floor", "start_bias", "stop_bias"):
        value = getattr(duplex, key)
        yield f"duplex.{key}", value, math.isfinite(value), "a finite number"


def _decoder(name: str, decoder: DecoderConfig) -> Iterator[Limit]:
    for key in ("width", "mlp_width", "num_heads", "num_kv_heads", "head_dim"):
        yield _above_zero(f"{name}.{key}", getattr(decoder, key))
    heads, shared = decoder.num_heads, decoder.num_kv_heads
    yield f"{name}.num_heads", heads, heads % shared == 0, f"a multiple of {name}.num_kv_heads, which is {shared}"
    yield f"{name}.head_dim", decoder.head_dim, decoder.head_dim % 2 == 0, "even: rotary positions turn pairs"
    for key in ("rope_theta", "norm_eps"):
        value = getattr(decoder, key)
        yield f"{name}.{key}", value, math.isfinite(value) and value > 0, "a finite number above 0"
    if decoder.moe is not None:
        yield from _experts(f"{name}.moe", decoder.moe, decoder.depth)


def _experts(name: str, moe: MoEConfig, depth: int) -> Iterator[Limit]:
    for key in ("num_experts", "top_k", "expert_width", "sparse_step"):
        yield _above_zero(f"{name}.{key}", getattr(moe, key))
    yield f"{name}.top_k", moe.top_k, moe.top_k <= moe.num_experts, f"at most num_experts, which is {moe.num_experts}"
    inside = all(0 <= layer < depth for layer in moe.dense_layers)
    yield f"{name}.dense_layers", moe.dense_layers, inside, f"layers from 0 to {depth - 1}"
    weight = moe.aux_loss_coef
    yield f"{name}.aux_loss_coef", weight, math.isfinite(weight) and weight >= 0, "a finite number, 0 or more"


def _encoder(audio: EncoderConfig) -> Iterator[Limit]:
    for key in ("width", "depth", "num_heads", "mlp_width", "n_window", "mel_bins"):
        yield _above_zero(f"audio.{key}", getattr(audio, key))
    multiple = audio.width % audio.num_heads == 0
    yield "audio.width", audio.width, multiple, f"a multiple of audio.num_heads, which is {audio.num_heads}"
    paired = audio.width % 2 == 0 and audio.width >= 4
    yield "audio.width", audio.width, paired, "even and at least 4: positions are pairs"


def _above_zero(key: str, value: int) -> Limit:
    return key, value, value > 0, "a whole number above 0"
