"""The release's config.json as a `ModelConfig` (model.md section 10)."""

import json
from pathlib import Path
from typing import Any

from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import InputError


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
        text=_decoder(text),
        audio=EncoderConfig(
            width=audio["d_model"],
            depth=audio["encoder_layers"],
            num_heads=audio["encoder_attention_heads"],
            mlp_width=audio["encoder_ffn_dim"],
            n_window=audio["n_window"],
            mel_bins=audio["num_mel_bins"],
        ),
        head=_decoder(audio["crq_transformer_config"]),
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
        head_prefill="release",
    )


def _decoder(values: dict[str, Any]) -> DecoderConfig:
    moe = None
    if values.get("num_experts"):
        moe = MoEConfig(
            num_experts=values["num_experts"],
            top_k=values["num_experts_per_tok"],
            expert_width=values["moe_intermediate_size"],
            normalize_top_k=values["norm_topk_prob"],
            dense_layers=tuple(values["mlp_only_layers"]),
            sparse_step=values["decoder_sparse_step"],
            aux_loss_coef=values["router_aux_loss_coef"] if values["output_router_logits"] else 0.0,
        )
    return DecoderConfig(
        width=values["hidden_size"],
        depth=values["num_hidden_layers"],
        mlp_width=values["intermediate_size"],
        num_heads=values["num_attention_heads"],
        num_kv_heads=values["num_key_value_heads"],
        head_dim=values["head_dim"],
        rope_theta=values["rope_theta"],
        norm_eps=values["rms_norm_eps"],
        moe=moe,
    )
