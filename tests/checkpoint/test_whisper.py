"""Whisper's encoder from transformers, OpenAI and CTranslate2: the same tensors whatever the layout."""

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from golden_model import FOLDER
from recorded_copies import part
from released_voice import save_torch

from fac_jax.checkpoint.release.names import WHISPER
from fac_jax.checkpoint.release.whisper import BINARY_VERSION, DTYPES, ENCODER, open_whisper
from fac_jax.types import InputError

KEYS = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins")
NAMES = {
    "openai": (
        ("self_attn.q_proj", "attn.query"), ("self_attn.k_proj", "attn.key"), ("self_attn.v_proj", "attn.value"),
        ("self_attn.out_proj", "attn.out"), ("self_attn_layer_norm", "attn_ln"), ("final_layer_norm", "mlp_ln"),
        ("fc1", "mlp.0"), ("fc2", "mlp.2"), ("layers.", "blocks."), ("layer_norm", "ln_post"),
        ("embed_positions.weight", "positional_embedding"),
    ),
    "ctranslate2": (
        ("self_attn_layer_norm.", "self_attention/layer_norm/"), ("self_attn.out_proj.", "self_attention/linear_1/"),
        ("final_layer_norm.", "ffn/layer_norm/"), ("fc1.", "ffn/linear_0/"), ("fc2.", "ffn/linear_1/"),
        ("embed_positions.weight", "position_encodings/encodings"),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def transformers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values = json.loads((FOLDER / "dense" / "config.json").read_text())["audio_config"]
    unused = ("model.encoder.embed_positions.weight", "model.decoder.layers.0.fc1.bias", "proj_out.weight")
    return part(tmp_path_factory.mktemp("whisper") / "hf", WHISPER, values, unused)


@pytest.fixture(scope="module")
def encoder(transformers: Path) -> dict[str, np.ndarray]:
    """Tensors by their names in the encoder, `layers.0.fc1.weight`."""
    _, tensors = open_whisper(transformers)
    return {name.removeprefix(ENCODER): tensors[name] for name in tensors.shapes if name.startswith(ENCODER)}


def renamed(name: str, layout: str) -> str:
    for ours, theirs in NAMES[layout]:
        name = name.replace(ours, theirs)
    return name


def save_openai(file: Path, encoder: Mapping[str, np.ndarray], values: Mapping[str, int]) -> Path:
    state = {f"encoder.{renamed(name, 'openai')}": tensor for name, tensor in encoder.items()}
    keys = ("n_audio_state", "n_audio_layer", "n_audio_head", "ffn", "n_mels")
    dims = dict(zip(keys, (values[key] for key in KEYS), strict=True))
    save_torch(file, {"dims": dims, "model_state_dict": {**state, "decoder.ln.weight": np.ones(3, np.float32)}})
    return file


def ctranslate2_variables(encoder: Mapping[str, np.ndarray], heads: int) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {
        "decoder/scale": np.array(1, np.int8),
        "encoder/num_heads": np.array(heads, np.int16),
    }
    for name, tensor in encoder.items():
        if ".k_proj" in name or ".v_proj" in name:
            continue
        if ".q_proj." in name:
            key, value = (name.replace("q_proj", f"{other}_proj") for other in "kv")
            tensor = np.concatenate([tensor, encoder.get(key, np.zeros_like(tensor)), encoder[value]])
            name = name.replace("self_attn.q_proj.", "self_attention/linear_0/")
        name = re.sub(r"layers\.(\d+)\.", r"layer_\1/", renamed(name, "ctranslate2"))
        name = name.replace("conv1.", "conv1/").replace("conv2.", "conv2/").replace("layer_norm.", "layer_norm/")
        if "layer_norm" in name:
            name = name.replace("weight", "gamma").replace("bias", "beta")
        found[f"encoder/{name}"] = tensor
    return found


def save_ctranslate2(folder: Path, variables: Mapping[str, np.ndarray], version: int = BINARY_VERSION) -> Path:
    def word(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    numbers = {np.dtype(dtype): number for number, dtype in DTYPES.items()}
    data = struct.pack("<I", version) + word("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        data += word(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        data += struct.pack("<BI", numbers[value.dtype], value.nbytes) + value.tobytes()
    folder.mkdir()
    (folder / "model.bin").write_bytes(data + struct.pack("<I", 0))
    return folder


@pytest.mark.parametrize("layout", ["openai", "ctranslate2"])
def test_every_layout_gives_the_same_encoder(
    layout: str, transformers: Path, encoder: dict[str, np.ndarray], tmp_path: Path
) -> None:
    want, _ = open_whisper(transformers)
    if layout == "openai":
        want.values["encoder_ffn_dim"] = 4 * want.size("d_model")  # Whisper's, which its dims do not name
        values, tensors = open_whisper(save_openai(tmp_path / "tiny.pt", encoder, want.values))
    else:
        variables = ctranslate2_variables(encoder, want.size("encoder_attention_heads"))
        values, tensors = open_whisper(save_ctranslate2(tmp_path / "ct2", variables))
    assert {key: values.size(key) for key in KEYS} == {key: want.size(key) for key in KEYS}
    assert {name for name in tensors.shapes if name.startswith(ENCODER)} == {ENCODER + name for name in encoder}
    for name, tensor in encoder.items():
        np.testing.assert_array_equal(tensors[ENCODER + name], tensor)


def test_files_that_are_no_whisper_are_refused(encoder: dict[str, np.ndarray], tmp_path: Path) -> None:
    variables = ctranslate2_variables(encoder, 4)
    whole = save_ctranslate2(tmp_path / "whole", variables)
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "model.bin").write_bytes((whole / "model.bin").read_bytes()[:-100])
    int8 = {**variables, "encoder/conv2/weight": np.zeros((2, 2), np.int8)}
    biased = {**variables, "encoder/layer_0/self_attention/linear_0/bias": np.ones(3 * 8, np.float32)}
    save_torch(tmp_path / "other.pt", {"weights": np.ones(2, np.float32)})
    for path, message in (
        (cut, r"model\.bin is truncated, or no model of CTranslate2"),
        (save_ctranslate2(tmp_path / "old", variables, 5), "version 5, 6 is known"),
        (
            save_ctranslate2(tmp_path / "int8", int8),
            "conv2/weight is int8; convert the model with --quant",
        ),
        (save_ctranslate2(tmp_path / "biased", biased), "the keys have a bias"),
        (save_ctranslate2(tmp_path / "text", {"decoder/x": np.ones(1, np.float32)}), "but no Whisper"),
        (tmp_path / "other.pt", "no Whisper of OpenAI's"),
        (tmp_path / "absent", "absent"),
    ):
        with pytest.raises(InputError, match=message):
            open_whisper(path)
