"""What an export writes: a whole model in the release's layout, or a part of it that transformers loads."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from fac_jax.checkpoint.assets import CODEC, SPEECH_TOKENIZER
from fac_jax.checkpoint.release.config import decoder_values, to_release_config
from fac_jax.checkpoint.release.folder import released_files, text_files
from fac_jax.checkpoint.release.sources import QWEN3, RELEASE, WHISPER, Source
from fac_jax.models.audio_encoder import sinusoids
from fac_jax.models.config import ModelConfig
from fac_jax.text.tokenizer import Tokenizer

WHISPER_POSITIONS: Final = 1500  # 30 s; ours counts in each of its windows from the first


@dataclasses.dataclass(frozen=True)
class Part:
    """One kind of export.

    Attributes:
      layout: names of the tensors; parameters that have no name in it are left out.
      config: config.json, from the model and the config.json that it came with ({} if with none).
      computed: tensors that the layout stores and our model computes.
      carries: whether a file or folder next to the parameters is copied, by its name.
      files: text files that are written for a model that did not come from a release, by their paths.
    """

    layout: Source
    config: Callable[[ModelConfig, dict[str, Any]], dict[str, Any]]
    computed: Callable[[ModelConfig], Mapping[str, np.ndarray]] = lambda config: {}
    carries: Callable[[str], bool] = lambda name: True
    files: Callable[[ModelConfig, Tokenizer], Mapping[str, str]] = lambda config, tokenizer: {}


def qwen3_config(config: ModelConfig, base: dict[str, Any]) -> dict[str, Any]:
    """config.json of the Shared LLM as `Qwen3ForCausalLM` or `Qwen3MoeForCausalLM`."""
    text = base.get("text_config", {})
    kept = {key: text[key] for key in ("max_position_embeddings",) if key in text}
    return {
        "architectures": ["Qwen3ForCausalLM" if config.text.moe is None else "Qwen3MoeForCausalLM"],
        **decoder_values(config.text),
        **kept,
        "vocab_size": config.vocab_size,
        "pad_token_id": config.special.pad,
        "eos_token_id": config.special.eos,
        "tie_word_embeddings": config.tie_embeddings,
        "torch_dtype": config.param_dtype,
    }


def whisper_config(config: ModelConfig, base: dict[str, Any]) -> dict[str, Any]:
    """config.json of the encoder as Whisper's; it has no decoder."""
    del base
    audio = config.audio
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForAudioClassification"],
        "d_model": audio.width,
        "encoder_layers": audio.depth,
        "encoder_attention_heads": audio.num_heads,
        "decoder_attention_heads": audio.num_heads,
        "encoder_ffn_dim": audio.mlp_width,
        "num_mel_bins": audio.mel_bins,
        "max_source_positions": WHISPER_POSITIONS,
        "torch_dtype": config.param_dtype,
    }


def _positions(config: ModelConfig) -> Mapping[str, np.ndarray]:
    return {"model.encoder.embed_positions.weight": sinusoids(WHISPER_POSITIONS, config.audio.width)}


PARTS: Final[Mapping[str, Part]] = {
    "all": Part(RELEASE, to_release_config, files=released_files),
    "text": Part(QWEN3, qwen3_config, carries=lambda name: name not in (CODEC, SPEECH_TOKENIZER), files=text_files),
    "audio": Part(WHISPER, whisper_config, _positions, carries=lambda name: False),
}
