"""Parts that we export, loaded and run by PyTorch's transformers (`make test-torch`, an environment of its own).

Random weights, float32; every difference is at most 1e-4.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, WhisperForAudioClassification
from transformers.models.qwen2_5_omni.configuration_qwen2_5_omni import Qwen2_5OmniAudioEncoderConfig
from transformers.models.qwen2_5_omni.modeling_qwen2_5_omni import Qwen2_5OmniAudioEncoder

from fac_jax.checkpoint.export import export_model
from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.checkpoint.release.convert import export_release
from fac_jax.checkpoint.release.params import to_release
from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import Params

LIMIT = 1e-4
torch.set_num_threads(1)  # tiny models: threads would only wait for each other
HEAD = DecoderConfig(width=32, depth=1, mlp_width=48, num_heads=2, num_kv_heads=1, head_dim=16)
DENSE = DecoderConfig(width=64, depth=3, mlp_width=160, num_heads=4, num_kv_heads=2, head_dim=32, rope_theta=1e6)
MOE = MoEConfig(num_experts=8, top_k=2, expert_width=48, normalize_top_k=True)
SPARSE = DecoderConfig(width=64, depth=3, mlp_width=160, num_heads=4, num_kv_heads=2, head_dim=32, moe=MOE)


def make_config(text: DecoderConfig = DENSE, tied: bool = False, n_window: int = 20) -> ModelConfig:
    return ModelConfig(
        text=text,
        audio=EncoderConfig(width=64, depth=3, num_heads=4, mlp_width=160, n_window=n_window),
        head=HEAD,
        vocab_size=300,
        codebook_size=36,
        special=SpecialIds(
            **{"pad": 290, "eos": 291, "audio": 292, "audio_bos": 293, "audio_eos": 294, "sil": 295},
            **{"speech_bos": 32, "speech_eos": 33, "speech_pad": 35},
        ),
        tie_embeddings=tied,
        head_prefill="release",
    )


def make_params(config: ModelConfig, seed: int) -> Params:
    """Random everywhere: norms and biases too, which initialisation leaves at one and zero."""
    tree = init_params(config, jax.random.key(seed))
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noisy = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(structure, noisy)


def encoded(config: ModelConfig, params: Params, windows: np.ndarray, valid: np.ndarray) -> jax.Array:
    """Frames of the audio encoder, `[W, M // 4, D]`."""
    return FunAudioChat(config).apply(
        {"params": params}, windows, valid, method=lambda model, *inputs: model.encoder(*inputs)
    )


def export(config: ModelConfig, params: Params, part: str, folder: Path) -> Path:
    export_model(folder / "ours", params, config, {"stage": "test", "order": 0, "steps": 0}, {})
    export_release(folder / "ours", folder / part, "float32", part=part)
    return folder / part


def greatest(ours: Any, theirs: torch.Tensor) -> float:
    return float(np.abs(np.asarray(ours) - theirs.detach().numpy()).max())


@pytest.mark.parametrize(
    ("text", "tied"), [(DENSE, False), (DENSE, True), (SPARSE, False)], ids=["qwen3", "qwen3_tied", "qwen3_moe"]
)
def test_the_shared_llm_is_qwen3(text: DecoderConfig, tied: bool, tmp_path: Path) -> None:
    config = make_config(text, tied)
    params = make_params(config, 0)
    theirs, told = AutoModelForCausalLM.from_pretrained(
        export(config, params, "text", tmp_path), output_loading_info=True, attn_implementation="eager"
    )
    assert type(theirs).__name__ == ("Qwen3ForCausalLM" if text.moe is None else "Qwen3MoeForCausalLM")
    assert not told["missing_keys"] and not told["unexpected_keys"] and not told["mismatched_keys"]

    ids = np.random.default_rng(0).integers(0, 280, (2, 24))
    batch = release_batch({"input_ids": ids, "attention_mask": np.ones_like(ids)}, config)
    model = FunAudioChat(config)
    with jax.default_matmul_precision("highest"):
        hidden = model.apply({"params": params}, batch, heads="text").hidden
        logits = model.apply({"params": params}, hidden, method="text_logits")
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids), output_hidden_states=True)
    assert greatest(hidden, expected.hidden_states[-1]) <= LIMIT
    assert greatest(logits, expected.logits) <= LIMIT


def test_the_encoder_is_qwen_omnis_window_by_window() -> None:
    config = make_config()
    params = make_params(config, 2)
    audio = config.audio
    sizes = {"d_model": audio.width, "encoder_layers": audio.depth, "encoder_attention_heads": audio.num_heads}
    theirs = Qwen2_5OmniAudioEncoder._from_config(
        Qwen2_5OmniAudioEncoderConfig(
            **sizes,
            encoder_ffn_dim=audio.mlp_width,
            num_mel_bins=audio.mel_bins,
            n_window=audio.n_window,
            output_dim=config.text.width,
            max_source_positions=audio.n_window,
        ),
        attn_implementation="eager",
    ).eval()
    prefix = "continuous_audio_tower."
    tensors = {n.removeprefix(prefix): t for n, t in to_release(params, config).items() if n.startswith(prefix)}
    told = theirs.load_state_dict({n: torch.from_numpy(np.array(t)) for n, t in tensors.items()}, strict=False)
    assert all("positional" in name for name in told.missing_keys) and not told.unexpected_keys

    frames = audio.mel_frames
    rng = np.random.default_rng(0)
    lengths = [2 * frames + 12, frames]  # windows: full, full, short; full
    mels = [rng.standard_normal((length, audio.mel_bins)).astype(np.float32) for length in lengths]
    windows = np.zeros((4, frames, audio.mel_bins), np.float32)
    valid = np.array([frames, frames, 12, frames], np.int32)
    for row, window in enumerate([mels[0][:frames], mels[0][frames : 2 * frames], mels[0][2 * frames :], mels[1]]):
        windows[row, : len(window)] = window
    with jax.default_matmul_precision("highest"):
        ours = encoded(config, params, windows, valid)
    ours = np.concatenate([np.asarray(ours)[row, : n // 4] for row, n in enumerate(valid.tolist())])
    feature_lens = torch.tensor(lengths)
    with torch.no_grad():
        found = theirs(
            torch.from_numpy(np.concatenate(mels).T.copy()),
            feature_lens=feature_lens,
            aftercnn_lens=(feature_lens - 1) // 2 + 1,
        )
    assert greatest(ours, found.last_hidden_state) <= LIMIT


def test_the_encoder_is_whispers_at_one_window(tmp_path: Path) -> None:
    config = make_config(n_window=1500)  # 30 s in one window, as Whisper has it
    params = make_params(config, 3)
    theirs, told = WhisperForAudioClassification.from_pretrained(
        export(config, params, "audio", tmp_path), output_loading_info=True, attn_implementation="eager"
    )
    assert all(name.startswith(("projector.", "classifier.")) for name in told["missing_keys"])
    assert not told["unexpected_keys"] and not told["mismatched_keys"]
    encoder = theirs.encoder.eval()
    unpooled: list[torch.Tensor] = []
    encoder.layer_norm.register_forward_pre_hook(lambda module, inputs: unpooled.append(inputs[0]))

    mel = np.random.default_rng(1).standard_normal((1, 3000, config.audio.mel_bins)).astype(np.float32)
    with jax.default_matmul_precision("highest"):
        ours = encoded(config, params, mel, np.array([3000], np.int32))
    with torch.no_grad():
        encoder(torch.from_numpy(mel.transpose(0, 2, 1).copy()))
        pooled = torch.nn.functional.avg_pool1d(unpooled[0].transpose(1, 2), 2).transpose(1, 2)  # what ours adds
        normed = encoder.layer_norm(pooled).numpy()
    proj = params["encoder"]["proj"]
    expected = jnp.matmul(normed, proj["kernel"], precision="highest") + proj["bias"]
    assert float(jnp.abs(ours - expected).max()) <= LIMIT
