"""The release's config.json as a `ModelConfig` (docs/model.md, section 10)."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, cast

from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.config import from_tree
from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from fac_jax.models.limits import check
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import FrontEnd, InputError, UserAudio

OURS: Final = "fac_jax"  # key of an object that is not the release's, written only where a model differs from it
COMPUTED: Final = "dtype"  # key in it of the dtype to compute in, where that is not the one of the tensors


@dataclasses.dataclass(frozen=True)
class Extra:
    """Keys of `ModelConfig` that the release's config.json has no place for; the defaults are the release's values."""

    head_prefill: Literal["as_trained", "release"] = "release"
    delay_groups: int = 2
    context: int = 2048
    user_audio: UserAudio = "waveform"
    front_end: FrontEnd = "plain"
    user_audio_scale: float = 1.0


DTYPES: Final = ("float32", "bfloat16")
MODES: Final = ("replace", "add")
# All positions of text and audio are equal in the three sections of Qwen3-VL's rope, which makes it the plain one.
PLAIN_ROPE: Final = ("default", "mrope")


def load_release_config(path: Path) -> ModelConfig:
    """Reads `path` (a config.json, or the directory that holds it).

    Raises:
      InputError: the file is missing or damaged, lacks a key, or asks for something that the model does not do.
    """
    path = path / "config.json" if path.is_dir() else path
    return release_config(read_json(path), str(path))


def computed_dtype(path: Path) -> str | None:
    """Returns the dtype in which the model of a folder computes, if its config.json names one.

    Small models are stored in bfloat16, in which a CPU computes slowly.

    Raises:
      InputError: the file is missing or damaged, or names another dtype than float32 or bfloat16.
    """
    where = path / "config.json"
    ours = Section(read_json(where), str(where)).section(OURS, {})
    if COMPUTED not in ours.values:
        return None
    dtype = ours.word(COMPUTED)
    if dtype not in DTYPES:
        raise InputError(f"{where}: {OURS}.{COMPUTED} is {dtype!r}, not one of {', '.join(DTYPES)}")
    return dtype


def release_config(values: dict[str, Any], where: str = "config.json") -> ModelConfig:
    """`ModelConfig` of a parsed config.json, named `where` in messages; special ids and sizes are the file's own.

    Raises:
      InputError: a key is missing or of another kind, or asks for something that the model does not do.
    """
    whole = Section(values, where)
    text, audio = whole.section("text_config"), whole.section("audio_config")
    head = audio.section("crq_transformer_config")
    window, mode = audio.size("n_window"), audio.word("continuous_features_mode")
    problems = decoder_problems(text) + encoder_problems(audio) + decoder_problems(head)
    if window % 2:
        problems.append(f"{audio.where}: n_window {window} is odd, so that pairs pooled to 25 Hz would cross windows")
    if mode not in MODES:
        problems.append(f"{audio.where}: continuous_features_mode is {mode!r}")
    refuse(problems)
    config = ModelConfig(
        text=decoder_config(text),
        audio=dataclasses.replace(encoder_config(audio), n_window=window),
        head=decoder_config(head),
        vocab_size=text.size("vocab_size"),
        codebook_size=audio.size("codebook_size"),
        special=SpecialIds(
            pad=text.id("pad_token_id"),
            eos=text.id("eos_token_id"),
            audio=whole.id("audio_token_index"),
            audio_bos=text.id("audio_bos_index"),
            audio_eos=text.id("audio_eos_index"),
            sil=text.id("sil_index"),
            speech_bos=audio.id("bos_token_id"),
            speech_eos=audio.id("eos_token_id"),
            speech_pad=audio.id("pad_token_id"),
        ),
        tie_embeddings=text.flag("tie_word_embeddings", False),
        group_size=audio.size("group_size"),
        continuous_mode=cast(Any, mode),
    )
    extra = {key: value for key, value in whole.section(OURS, {}).values.items() if key != COMPUTED}
    try:
        config = dataclasses.replace(config, **vars(from_tree(Extra, extra, OURS)))
        check(config)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return config


def encoder_config(values: Section) -> EncoderConfig:
    """Sizes of a Whisper encoder from the config.json of one; raises InputError as `Section` does."""
    return EncoderConfig(
        width=values.size("d_model"),
        depth=values.size("encoder_layers"),
        num_heads=values.size("encoder_attention_heads"),
        mlp_width=values.size("encoder_ffn_dim"),
        mel_bins=values.size("num_mel_bins", 80),
    )


def decoder_config(values: Section) -> DecoderConfig:
    """Sizes of a Qwen3 stack from the config.json of one; raises InputError as `Section` does.

    What the file leaves out is what transformers takes for it.
    """
    width, heads = values.size("hidden_size"), values.size("num_attention_heads")
    moe = None
    if values.values.get("num_experts"):
        on = values.flag("output_router_logits", False)
        moe = MoEConfig(
            num_experts=values.size("num_experts"),
            top_k=values.size("num_experts_per_tok"),
            expert_width=values.size("moe_intermediate_size"),
            normalize_top_k=values.flag("norm_topk_prob", False),
            dense_layers=values.numbers("mlp_only_layers", ()),
            sparse_step=values.size("decoder_sparse_step", 1),
            aux_loss_coef=values.number("router_aux_loss_coef", 0.001) if on else 0.0,
        )
    # transformers 5 moved it into an object of its own.
    rope = values if "rope_theta" in values.values else values.section("rope_parameters", {})
    return DecoderConfig(
        width=width,
        depth=values.size("num_hidden_layers"),
        mlp_width=values.size("intermediate_size"),
        num_heads=heads,
        num_kv_heads=values.size("num_key_value_heads", heads),
        head_dim=values.size("head_dim", width // heads),
        rope_theta=rope.positive("rope_theta"),
        norm_eps=values.positive("rms_norm_eps", 1e-6),
        moe=moe,
    )


def decoder_problems(values: Section) -> list[str]:
    """What a Qwen3 config.json asks for that changes numbers and that our stack does not do."""
    problems = _others(values, {"use_sliding_window": False, "attention_bias": False, "hidden_act": "silu"})
    for key in ("rope_scaling", "rope_parameters"):
        rope = values.section(key, {}).values
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in PLAIN_ROPE:
            problems.append(f"{values.where}: {key} is of the type {kind!r}")
    kinds = sorted(set(values.values.get("layer_types") or ()) - {"full_attention"})
    problems += [f"{values.where}: layer_types has {kind!r}" for kind in kinds]
    heads, shared = values.size("num_attention_heads"), values.size("num_key_value_heads", 1)
    if heads % shared:
        problems.append(f"{values.where}: {heads} num_attention_heads cannot share {shared} num_key_value_heads")
    return problems


def encoder_problems(values: Section) -> list[str]:
    """As `decoder_problems`, of a Whisper encoder."""
    problems = _others(values, {"scale_embedding": False, "activation_function": "gelu"})
    width, heads = values.size("d_model"), values.size("encoder_attention_heads")
    if width % heads:
        problems.append(f"{values.where}: d_model {width} is no multiple of encoder_attention_heads {heads}")
    return problems


def refuse(problems: list[str]) -> None:
    """Raises InputError with all problems, if there are any."""
    if problems:
        raise InputError(f"{'; '.join(problems)}: the model here does not do that")


def _others(values: Section, expected: Mapping[str, Any]) -> list[str]:
    given = {key: values.values.get(key) for key in expected}
    other = {key: value for key, value in given.items() if value not in (None, expected[key])}
    return [f"{values.where}: {key} is {value!r}, not {expected[key]!r}" for key, value in other.items()]


def to_release_config(config: ModelConfig, base: dict[str, Any] | None = None) -> dict[str, Any]:
    """The release's config.json of a model; other keys of `base`, the config.json that the model came with, are kept.

    Raises:
      InputError: the release has no such model (`grouping` "concat", `fusion` "sum").
    """
    if config.grouping != "mean" or config.fusion != "average":
        raise InputError(
            f"grouping {config.grouping!r} and fusion {config.fusion!r} have no place in the release's layout, "
            "which only knows grouping 'mean' and fusion 'average'"
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
        "vocab_size": config.codebook_size,  # of a table that the head does not have; a checkpoint may say another
        **audio_base.get("crq_transformer_config", {}),
        **decoder_values(config.head),
    }
    ours = {key: getattr(config, key) for key, value in vars(Extra()).items() if getattr(config, key) != value}
    return {
        "model_type": "funaudiochat",
        "architectures": ["FunAudioChatForConditionalGeneration"],
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
    return {
        **values,
        **router,
        "num_experts": config.moe.num_experts,
        "num_experts_per_tok": config.moe.top_k,
        "moe_intermediate_size": config.moe.expert_width,
        "norm_topk_prob": config.moe.normalize_top_k,
        "mlp_only_layers": list(config.moe.dense_layers),
        "decoder_sparse_step": config.moe.sparse_step,
        "output_router_logits": bool(coefficient),
    }
