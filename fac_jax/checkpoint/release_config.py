"""The release's config.json as a `ModelConfig` (model.md section 10)."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import InputError

# What the release's config.json cannot say stands in an object of our own there, where it is not as the release has it.
OURS: Final = "fac_jax"
RELEASED: Final[Mapping[str, Any]] = {
    "head_prefill": "release",
    "delay_groups": 2,
    "context": 2048,
    "user_audio_scale": 1.0,
}


def load_release_config(path: Path) -> ModelConfig:
    """Reads `path` (a config.json, or the directory that holds it).

    Raises:
      InputError: the file is missing, is not JSON, or lacks a key.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        return release_config(json.loads(path.read_text()))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the directory of a released checkpoint") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON: {error}") from None
    except KeyError as error:
        raise InputError(f"{path}: key {error} is missing") from None


def release_config(values: dict[str, Any]) -> ModelConfig:
    """`ModelConfig` of a parsed config.json; special ids and sizes are the file's own.

    Raises:
      KeyError: a key is missing.
    """
    text, audio = values["text_config"], values["audio_config"]
    return ModelConfig(
        text=decoder_config(text),
        audio=dataclasses.replace(encoder_config(audio), n_window=audio["n_window"]),
        head=decoder_config(audio["crq_transformer_config"]),
        vocab_size=text["vocab_size"],
        codebook_size=audio["codebook_size"],
        special=SpecialIds(
            pad=text["pad_token_id"],
            eos=text["eos_token_id"],
            audio=values["audio_token_index"],
            audio_bos=text["audio_bos_index"],
            audio_eos=text["audio_eos_index"],
            sil=text["sil_index"],
            speech_bos=audio["bos_token_id"],
            speech_eos=audio["eos_token_id"],
            speech_pad=audio["pad_token_id"],
        ),
        tie_embeddings=text["tie_word_embeddings"],
        group_size=audio["group_size"],
        continuous_mode=audio["continuous_features_mode"],
        **{**RELEASED, **{key: value for key, value in values.get(OURS, {}).items() if key in RELEASED}},
    )


def encoder_config(values: dict[str, Any]) -> EncoderConfig:
    """Sizes of a Whisper encoder from the config.json of one.

    Raises:
      KeyError: a key is missing.
    """
    return EncoderConfig(
        width=values["d_model"],
        depth=values["encoder_layers"],
        num_heads=values["encoder_attention_heads"],
        mlp_width=values["encoder_ffn_dim"],
        mel_bins=values["num_mel_bins"],
    )


def decoder_config(values: dict[str, Any]) -> DecoderConfig:
    """Sizes of a Qwen3 stack from the config.json of one.

    Raises:
      KeyError: a key is missing.
    """
    moe = None
    if values.get("num_experts"):
        moe = MoEConfig(
            num_experts=values["num_experts"],
            top_k=values["num_experts_per_tok"],
            expert_width=values["moe_intermediate_size"],
            normalize_top_k=values["norm_topk_prob"],
            dense_layers=tuple(values["mlp_only_layers"]),
            sparse_step=values["decoder_sparse_step"],
            aux_loss_coef=values["router_aux_loss_coef"] if values.get("output_router_logits") else 0.0,
        )
    return DecoderConfig(
        width=values["hidden_size"],
        depth=values["num_hidden_layers"],
        mlp_width=values["intermediate_size"],
        num_heads=values["num_attention_heads"],
        num_kv_heads=values["num_key_value_heads"],
        head_dim=values["head_dim"],
        # transformers 5 moved it into a dict of its own.
        rope_theta=values["rope_theta"] if "rope_theta" in values else values["rope_parameters"]["rope_theta"],
        norm_eps=values["rms_norm_eps"],
        moe=moe,
    )


def to_release_config(config: ModelConfig, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The release's config.json of a model.

    Args:
      config: the model. Eq. 1 grouping and Eq. 5 fusion have no place there.
      base: a config.json whose other keys are kept, that of the checkpoint from which the model came.

    Raises:
      InputError: the release has no such model (`grouping` "concat", `fusion` "sum").
    """
    if config.grouping != "mean" or config.fusion != "average":
        raise InputError(
            f"grouping {config.grouping!r} and fusion {config.fusion!r} have no place in the release's layout, "
            "which knows grouping 'mean' and fusion 'average' alone"
        )
    special = config.special
    text = decoder_values(config.text) | {
        "vocab_size": config.vocab_size,
        "pad_token_id": special.pad,
        "eos_token_id": special.eos,
        "audio_bos_index": special.audio_bos,
        "audio_eos_index": special.audio_eos,
        "sil_index": special.sil,
        "tie_word_embeddings": config.tie_embeddings,
    }
    audio = {
        "model_type": "funaudiochat_audio_encoder",
        "d_model": config.audio.width,
        "encoder_layers": config.audio.depth,
        "num_hidden_layers": config.audio.depth,
        "encoder_attention_heads": config.audio.num_heads,
        "encoder_ffn_dim": config.audio.mlp_width,
        "n_window": config.audio.n_window,
        "num_mel_bins": config.audio.mel_bins,
        "output_dim": config.text.width,
        "codebook_size": config.codebook_size,
        "bos_token_id": special.speech_bos,
        "eos_token_id": special.speech_eos,
        "pad_token_id": special.speech_pad,
        "group_size": config.group_size,
        "continuous_features_mode": config.continuous_mode,
        "enable_audio_invert_tower": True,
    }
    base = {key: value for key, value in (base or {}).items() if key != OURS}
    audio_base = base.get("audio_config", {})
    head = {
        **audio_base.get("crq_transformer_config", {}),
        **decoder_values(config.head),
        "vocab_size": config.codebook_size,
    }
    ours = {key: getattr(config, key) for key, value in RELEASED.items() if getattr(config, key) != value}
    return {
        "model_type": "funaudiochat",
        **base,
        "audio_token_index": special.audio,
        "hidden_size": config.text.width,
        "torch_dtype": config.param_dtype,
        "text_config": {**base.get("text_config", {}), **text},
        "audio_config": {**audio_base, **audio, "crq_transformer_config": head},
        **({OURS: ours} if ours else {}),
    }


def decoder_values(config: DecoderConfig) -> dict[str, Any]:
    """The part of a Qwen3 config.json that says a stack's sizes; inverse of `decoder_config`."""
    values: dict[str, Any] = {
        "model_type": "qwen3" if config.moe is None else "qwen3_moe",
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "intermediate_size": config.mlp_width,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_kv_heads,
        "head_dim": config.head_dim,
        "rope_theta": config.rope_theta,
        "rms_norm_eps": config.norm_eps,
        "hidden_act": "silu",
        "attention_bias": False,
    }
    if config.moe is None:
        return values
    coefficient = config.moe.aux_loss_coef
    # Where the loss is off, the coefficient in the base stays as it is.
    router = {"router_aux_loss_coef": coefficient} if coefficient else {}
    return (
        values
        | router
        | {
            "num_experts": config.moe.num_experts,
            "num_experts_per_tok": config.moe.top_k,
            "moe_intermediate_size": config.moe.expert_width,
            "norm_topk_prob": config.moe.normalize_top_k,
            "mlp_only_layers": list(config.moe.dense_layers),
            "decoder_sparse_step": config.moe.sparse_step,
            "output_router_logits": bool(coefficient),
        }
    )
