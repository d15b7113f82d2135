"""Named sizes of the model. The full sizes are public; a real checkpoint's special ids come from its config.json."""

from typing import Any

from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig, replace
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import InputError

# Plausible ids behind Qwen3's 151,669 base entries and the 6,561 codes of the released codec.
QWEN3_IDS = SpecialIds(
    pad=151643,
    eos=151645,
    audio=151669,
    audio_bos=151670,
    audio_eos=151671,
    sil=151673,
    speech_bos=6561,
    speech_eos=6562,
    speech_pad=6564,
)
WHISPER_LARGE = EncoderConfig(width=1280, depth=32, num_heads=20, mlp_width=5120, n_window=100)
QWEN3_SMALL_HEAD = DecoderConfig(
    width=1024, depth=28, mlp_width=3072, num_heads=16, num_kv_heads=8, head_dim=128, rope_theta=1e6
)

PRESETS: dict[str, ModelConfig] = {
    # The quickstart's model of about 1.7 M parameters; vocabulary and codebook come from its data.
    "tiny": ModelConfig(
        text=DecoderConfig(width=128, depth=4, mlp_width=384, num_heads=4, num_kv_heads=2, head_dim=32, rope_theta=1e4),
        audio=EncoderConfig(width=96, depth=2, num_heads=4, mlp_width=384, n_window=100),
        head=DecoderConfig(width=128, depth=2, mlp_width=384, num_heads=4, num_kv_heads=2, head_dim=32, rope_theta=1e4),
        vocab_size=512,
        codebook_size=132,
        special=SpecialIds(
            pad=0, eos=2, audio=3, audio_bos=4, audio_eos=5, sil=6, speech_bos=128, speech_eos=129, speech_pad=131
        ),
        tie_embeddings=True,
        context=256,
    ),
    # About 100 M parameters with the proportions of the large ones.
    "base": ModelConfig(
        text=DecoderConfig(width=768, depth=8, mlp_width=2304, num_heads=12, num_kv_heads=4, head_dim=64),
        audio=EncoderConfig(width=512, depth=6, num_heads=8, mlp_width=2048, n_window=100),
        head=DecoderConfig(width=512, depth=6, mlp_width=1536, num_heads=8, num_kv_heads=4, head_dim=64),
        vocab_size=16384,
        codebook_size=6565,
        special=SpecialIds(
            pad=0, eos=2, audio=3, audio_bos=4, audio_eos=5, sil=6, speech_bos=6561, speech_eos=6562, speech_pad=6564
        ),
        tie_embeddings=True,
    ),
    # Fun-Audio-Chat-8B: Qwen3-VL-8B's text part, Whisper-large-v3, and a head of the size of Qwen3-0.6B.
    "8b": ModelConfig(
        text=DecoderConfig(
            width=4096, depth=36, mlp_width=12288, num_heads=32, num_kv_heads=8, head_dim=128, rope_theta=5e6
        ),
        audio=WHISPER_LARGE,
        head=QWEN3_SMALL_HEAD,
        vocab_size=151936,
        codebook_size=6565,
        special=QWEN3_IDS,
        dtype="bfloat16",
        param_dtype="bfloat16",
        remat="full",
    ),
}
# Fun-Audio-Chat-30B-A3B: Qwen3-30B-A3B with the encoder and the head of the 8B.
PRESETS["30b_a3b"] = replace(
    PRESETS["8b"],
    text=DecoderConfig(
        width=2048,
        depth=48,
        mlp_width=6144,
        num_heads=32,
        num_kv_heads=4,
        head_dim=128,
        rope_theta=1e6,
        moe=MoEConfig(num_experts=128, top_k=8, expert_width=768),
    ),
)


def preset(name: str, **changes: Any) -> ModelConfig:
    """Returns a preset with changes.

    Args:
      changes: fields to change, as `replace` takes them.

    Raises:
      InputError: no such preset.
      ValueError: a key that the configuration does not have (`replace`).
    """
    if name not in PRESETS:
        raise InputError(f"unknown model preset {name!r}; known: {', '.join(PRESETS)}")
    return replace(PRESETS[name], **changes)
