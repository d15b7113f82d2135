"""Records what three implementations of Whisper's encoder give, for `tests/checkpoint/test_whisper_frames.py`.

python record_whisper.py OUT [--model=FOLDER]

It needs openai-whisper, transformers and ctranslate2. OUT gets a small random Whisper in the three layouts, as these
libraries write it, and `frames.npz`. With a folder of CTranslate2 (tiny.en), OUT gets only `tiny_en.npz`, the frames of
one window of 30 s by CTranslate2.
"""

import argparse
import re
from pathlib import Path

import ctranslate2
import numpy as np
import torch
from ctranslate2.converters.transformers import WhisperLoader
from transformers import WhisperConfig, WhisperForConditionalGeneration
from whisper.model import ModelDimensions, Whisper

RULES = (
    (r"positional_embedding", "embed_positions.weight"),
    (r"token_embedding", "embed_tokens"),
    (r"blocks\.", "layers."),
    (r"ln_post|(?<=decoder\.)ln(?=\.)", "layer_norm"),
    (r"cross_attn_ln", "encoder_attn_layer_norm"),
    (r"attn_ln", "self_attn_layer_norm"),
    (r"mlp_ln", "final_layer_norm"),
    (r"mlp\.0", "fc1"),
    (r"mlp\.2", "fc2"),
    (r"cross_attn\.", "encoder_attn."),
    (r"(?<![_n])attn\.", "self_attn."),
    (r"\.query\.", ".q_proj."),
    (r"\.key\.", ".k_proj."),
    (r"\.value\.", ".v_proj."),
    (r"\.out\.", ".out_proj."),
)


def pseudo_mel(bins: int, frames: int) -> np.ndarray:
    """Returns the log-mel `[M, bins]` of no sound in particular: waves over time and bins, and noise."""
    noise = np.random.RandomState(0).standard_normal((frames, bins))
    time, bin_ = np.arange(frames)[:, None], np.arange(bins)[None]
    return (0.5 * np.sin(time / 17 + bin_ / 5) - 0.3 + 0.1 * noise).astype(np.float32)


def encoded(folder: str, mel: np.ndarray) -> np.ndarray:
    """Returns the frames `[T, D]` that CTranslate2 makes of a log-mel `[M, bins]`, in float32."""
    model = ctranslate2.models.Whisper(folder, device="cpu", compute_type="float32")
    given = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T[None]))
    return np.array(model.encode(given))[0]


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.model:
        frames = encoded(args.model, pseudo_mel(80, 3000))
        np.savez_compressed(args.out / "tiny_en.npz", frames=frames[::25])
        return
    torch.manual_seed(0)
    dims = ModelDimensions(
        n_mels=8, n_audio_ctx=50, n_audio_state=16, n_audio_head=2, n_audio_layer=2,
        n_vocab=51, n_text_ctx=8, n_text_state=16, n_text_head=2, n_text_layer=1,
    )  # fmt: skip
    first = Whisper(dims).eval()
    with torch.no_grad():
        for weight in first.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
        # As a file that holds the table in half precision.
        first.encoder.positional_embedding.copy_(first.encoder.positional_embedding.half().float())
    torch.save({"dims": vars(dims), "model_state_dict": first.state_dict()}, args.out / "openai.pt")

    config = WhisperConfig(
        d_model=16, num_mel_bins=8, max_source_positions=50, max_target_positions=8, vocab_size=51,
        encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64,
        pad_token_id=0, bos_token_id=0, eos_token_id=0, decoder_start_token_id=0, suppress_tokens=None,
        begin_suppress_tokens=None,
    )  # fmt: skip
    second = WhisperForConditionalGeneration(config).eval()
    state = {}
    for name, tensor in first.state_dict().items():
        for pattern, new in RULES:
            name = re.sub(pattern, new, name)
        state[f"model.{name}"] = tensor
    state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
    second.load_state_dict(state)
    second.save_pretrained(args.out / "transformers")

    loader = WhisperLoader()
    spec = loader.get_model_spec(second)
    spec.register_vocabulary([str(i) for i in range(51)])
    spec.validate()
    spec.optimize()
    (args.out / "ctranslate2").mkdir(exist_ok=True)
    spec.save(str(args.out / "ctranslate2"))

    mel = pseudo_mel(8, 100)
    with torch.no_grad():
        given = torch.from_numpy(mel.T[None])
        frames = {"openai": first.encoder(given)[0].numpy(), "transformers": second.model.encoder(given)[0][0].numpy()}
    frames["ctranslate2"] = encoded(str(args.out / "ctranslate2"), mel)
    np.savez_compressed(args.out / "frames.npz", **frames)
    for name, found in frames.items():
        print(name, found.shape, float(np.abs(found - frames["openai"]).max()))


main()
