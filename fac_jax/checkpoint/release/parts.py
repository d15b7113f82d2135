"""What an export writes: a whole model in the release's layout, or a part of it that transformers loads.

PyTorch users' classes read small text files next to the tensors:

tokenizer_config.json, special_tokens_map.json, chat_template.jinja    AutoTokenizer, next to tokenizer.json
generation_config.json                                                 model.generate
preprocessor_config.json, processor_config.json, speech_tokenizer/     AutoProcessor of the release

A model that came from a release keeps that release's own files (`export.assets`); these are for models made here.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import tokenizers
from tokenizers import Regex, decoders, models, pre_tokenizers

from fac_jax.audio.mel import HOP, RATE, WINDOW
from fac_jax.checkpoint.export import CODEC, SPEECH_TOKENIZER
from fac_jax.checkpoint.release.config import decoder_values, to_release_config
from fac_jax.checkpoint.release.names import QWEN3, RELEASE, WHISPER, Source
from fac_jax.models.audio_encoder import sinusoids
from fac_jax.models.config import ModelConfig
from fac_jax.text.special_ids import IM_START, SPEECH_SPECIALS, speech_special_ids
from fac_jax.text.tokenizer import CONFIG_FILE, FILE, Tokenizer

WHISPER_POSITIONS: Final = 1500  # 30 s; ours counts in each of its windows from the first
PROCESSOR: Final = "FunAudioChatProcessor"
SPEECH_RATE: Final = 25  # Hz
MAX_NEW_TOKENS: Final = 512  # LLM steps of a reply, as the release's examples have it

UNIT: Final = "[AU{:04d}]"  # the release's spelling of a codec id
SPEECH_NAMES: Final[Mapping[str, str]] = dict(
    zip(SPEECH_SPECIALS, ("<|audio_bos|>", "<|audio_eos|>", "<|audio_unk|>", "<|audio_pad|>"), strict=True)
)

# ChatML with line breaks where `text.chat.render` has them. The content of a message is a string, or a list of
# {"type": "audio"} and {"type": "text", "text": ..}.
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'audio' %}{{ '<|audio_bos|><|AUDIO|><|audio_eos|>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


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


def text_files(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, str]:
    """Returns the content of the files that AutoTokenizer and `generate` read, by name."""
    special = config.special
    names = {"eos_token": tokenizer.spell(special.eos), "pad_token": tokenizer.spell(special.pad)}
    others = [tokenizer.spell(i) for i in (special.audio, special.audio_bos, special.audio_eos, special.sil)]
    tokens = {**names, "additional_special_tokens": [IM_START, *others]}
    settings = {
        # Qwen2Tokenizer would put its own rules of splitting in place of those in tokenizer.json.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "model_max_length": config.context,
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
    }
    generation = {
        "eos_token_id": special.eos,
        "pad_token_id": special.pad,
        "do_sample": False,
        "max_new_tokens": min(MAX_NEW_TOKENS, config.context),
    }
    return {
        CONFIG_FILE: _json(settings),
        "special_tokens_map.json": _json(tokens),
        "chat_template.jinja": CHAT_TEMPLATE,
        "generation_config.json": _json(generation),
    }


def released_files(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, str]:
    """Returns the content of every small file of a released folder, by its path in the folder."""
    special, group = config.special, config.group_size
    audio = {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "processor_class": PROCESSOR,
        "feature_size": config.audio.mel_bins,
        "sampling_rate": RATE,
        "hop_length": HOP,
        "n_fft": WINDOW,
        # The processor cuts longer audio without a word, so this is as long as a row can be.
        "chunk_length": -(-config.context * group // SPEECH_RATE),
        "return_attention_mask": True,
    }
    processor = {
        "processor_class": PROCESSOR,
        "audio_token": tokenizer.spell(special.audio),
        "audio_bos_token": tokenizer.spell(special.audio_bos),
        "audio_eos_token": tokenizer.spell(special.audio_eos),
        "audio_pad_token": SPEECH_NAMES["speech_pad"],
        "audio_group_size": group,
    }
    speech = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{field.removeprefix('speech_')}_token": spelled for field, spelled in SPEECH_NAMES.items()},
        "audio_group_size": group,
        "clean_up_tokenization_spaces": False,
    }
    return {
        **text_files(config, tokenizer),
        "preprocessor_config.json": _json(audio),
        "processor_config.json": _json(processor),
        f"{SPEECH_TOKENIZER}/{FILE}": speech_tokenizer(config.units) + "\n",
        f"{SPEECH_TOKENIZER}/{CONFIG_FILE}": _json(speech),
    }


def speech_tokenizer(units: int) -> str:
    """Returns the tokenizer.json of speech ids: `[AU0000]` and so on for the codec's ids, then four special ids.

    Args:
      units: number of codec ids.
    """
    special = {SPEECH_NAMES[field]: number for field, number in speech_special_ids(units).items()}
    vocabulary = {UNIT.format(unit): unit for unit in range(units)} | special
    core = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token=SPEECH_NAMES["speech_unk"]))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\[AU\d+\]"), "isolated")
    core.decoder = decoders.Fuse()
    core.add_special_tokens(list(special))
    return core.to_str(pretty=False)


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2) + "\n"


PARTS: Final[Mapping[str, Part]] = {
    "all": Part(RELEASE, to_release_config, files=released_files),
    "text": Part(QWEN3, qwen3_config, carries=lambda name: name not in (CODEC, SPEECH_TOKENIZER), files=text_files),
    "audio": Part(WHISPER, whisper_config, _positions, carries=lambda name: False),
}
