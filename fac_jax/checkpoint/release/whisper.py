"""Whisper's encoder in the three layouts that people have, under the names that transformers gives its tensors.

a folder of transformers: config.json and safetensors
a file of OpenAI: tiny.en.pt, read without PyTorch and without running code
a folder of CTranslate2 (faster-whisper): model.bin
"""

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.checkpoint.release.tensors import TensorFolder, Tensors
from fac_jax.checkpoint.voice.torch_file import read_torch
from fac_jax.types import InputError

MODEL_BIN: Final = "model.bin"
BINARY_VERSION: Final = 6  # of CTranslate2's files; since 2022
# CTranslate2's numbers for the types of tensors; quantised ones come with scales, and are refused.
DTYPES: Final[Mapping[int, Any]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16, 5: jnp.bfloat16}
DAMAGE: Final = (struct.error, UnicodeDecodeError, ValueError, LookupError)

ENCODER: Final = "model.encoder."
LAYER: Final = re.compile(r"layers\.(\d+)\.")
# Full-match expressions of names within the encoder, and what transformers calls them.
OPENAI: Final = (
    (r"(conv[12]\..*)", r"\1"),
    (r"positional_embedding", r"embed_positions.weight"),
    (r"ln_post\.(.*)", r"layer_norm.\1"),
    (r"blocks\.(\d+)\.attn\.query\.(.*)", r"layers.\1.self_attn.q_proj.\2"),
    (r"blocks\.(\d+)\.attn\.key\.(.*)", r"layers.\1.self_attn.k_proj.\2"),
    (r"blocks\.(\d+)\.attn\.value\.(.*)", r"layers.\1.self_attn.v_proj.\2"),
    (r"blocks\.(\d+)\.attn\.out\.(.*)", r"layers.\1.self_attn.out_proj.\2"),
    (r"blocks\.(\d+)\.attn_ln\.(.*)", r"layers.\1.self_attn_layer_norm.\2"),
    (r"blocks\.(\d+)\.mlp\.0\.(.*)", r"layers.\1.fc1.\2"),
    (r"blocks\.(\d+)\.mlp\.2\.(.*)", r"layers.\1.fc2.\2"),
    (r"blocks\.(\d+)\.mlp_ln\.(.*)", r"layers.\1.final_layer_norm.\2"),
)
CTRANSLATE2: Final = (
    (r"(conv[12])/(.*)", r"\1.\2"),
    (r"position_encodings/encodings", r"embed_positions.weight"),
    (r"layer_norm/(.*)", r"layer_norm.\1"),
    (r"layer_(\d+)/self_attention/layer_norm/(.*)", r"layers.\1.self_attn_layer_norm.\2"),
    (r"layer_(\d+)/self_attention/linear_0/(.*)", r"layers.\1.self_attn.qkv.\2"),
    (r"layer_(\d+)/self_attention/linear_1/(.*)", r"layers.\1.self_attn.out_proj.\2"),
    (r"layer_(\d+)/ffn/layer_norm/(.*)", r"layers.\1.final_layer_norm.\2"),
    (r"layer_(\d+)/ffn/linear_0/(.*)", r"layers.\1.fc1.\2"),
    (r"layer_(\d+)/ffn/linear_1/(.*)", r"layers.\1.fc2.\2"),
)


class Held(dict[str, np.ndarray]):
    """Tensors in memory, with the shapes and dtypes that a `TensorFolder` has."""

    def __init__(self, folder: Path, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__(tensors)
        self.folder = folder
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.dtypes = {name: tensor.dtype.name for name, tensor in tensors.items()}


def open_whisper(path: Path) -> tuple[Section, Tensors]:
    """Returns the config of a Whisper with the keys of transformers, and its tensors.

    Raises:
      InputError: nothing is there, a file is damaged or of another kind, or its weights are quantised.
    """
    if (path / MODEL_BIN).is_file():
        return _ctranslate2(path / MODEL_BIN)
    if path.is_file():
        return _openai(path)
    return Section(read_json(path / "config.json"), str(path / "config.json")), TensorFolder(path)


def _openai(file: Path) -> tuple[Section, Tensors]:
    found = read_torch(file)
    if not isinstance(found, dict) or not {"dims", "model_state_dict"} <= found.keys():
        raise InputError(f"{file}: no Whisper of OpenAI's, which has dims and model_state_dict")
    dims = Section(found["dims"], f"{file}: dims")
    config = {
        "d_model": dims.size("n_audio_state"),
        "encoder_layers": dims.size("n_audio_layer"),
        "encoder_attention_heads": dims.size("n_audio_head"),
        "encoder_ffn_dim": 4 * dims.size("n_audio_state"),
        "num_mel_bins": dims.size("n_mels"),
    }
    state = {name: tensor for name, tensor in found["model_state_dict"].items() if isinstance(tensor, np.ndarray)}
    own = {name.removeprefix("encoder."): tensor for name, tensor in state.items() if name.startswith("encoder.")}
    return Section(config, str(file)), Held(file, dict(_renamed(own, OPENAI)))


def _ctranslate2(file: Path) -> tuple[Section, Tensors]:
    try:
        found = dict(_variables(memoryview(file.read_bytes())))
    except DAMAGE as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file} is truncated, or no model of CTranslate2 ({reason})") from error
    own = {name.removeprefix("encoder/"): value for name, value in found.items() if name.startswith("encoder/")}
    quantised = sorted(name for name, value in own.items() if value.ndim and value.dtype.kind == "i")
    if quantised:
        kind = own[quantised[0]].dtype
        raise InputError(f"{file}: encoder/{quantised[0]} is {kind}; convert the model with --quantization float16")
    needed = ("conv1/weight", "num_heads", "layer_0/ffn/linear_0/bias")
    if not own.keys() >= {*needed}:
        raise InputError(
            f"{file}: a model of CTranslate2, but no Whisper: its encoder lacks {min({*needed} - own.keys())}"
        )
    tensors = dict(_split(dict(_renamed(own, CTRANSLATE2))))
    width, bins, _ = own["conv1/weight"].shape
    config = {
        "d_model": width,
        "encoder_layers": len({match[1] for name in tensors if (match := LAYER.search(name))}),
        "encoder_attention_heads": int(own["num_heads"]),
        "encoder_ffn_dim": len(tensors[f"{ENCODER}layers.0.fc1.bias"]),
        "num_mel_bins": bins,
    }
    return Section(config, str(file)), Held(file, tensors)


def _renamed(own: Mapping[str, np.ndarray], rules: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields tensors under transformers' names; names that no rule knows stay, and are refused as unknown later."""
    for name, tensor in own.items():
        if tensor.ndim:
            matches = ((re.fullmatch(pattern, name), to) for pattern, to in rules)
            new = next((match.expand(to) for match, to in matches if match), name)
            yield ENCODER + new.replace(".gamma", ".weight").replace(".beta", ".bias"), tensor


def _split(tensors: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields queries, keys and values of the matrices that hold all three; Whisper's keys have no bias."""
    for name, tensor in tensors.items():
        if ".qkv." not in name:
            yield name, tensor
            continue
        for part, piece in zip("qkv", np.split(tensor, 3), strict=True):
            if part == "k" and name.endswith(".bias"):
                if piece.any():
                    raise InputError(f"{name}: the keys have a bias, which those of Whisper do not")
            else:
                yield name.replace(".qkv.", f".{part}_proj."), piece


def _variables(data: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the variables of a file of CTranslate2, which share its memory.

    Raises:
      struct.error, UnicodeDecodeError, ValueError, LookupError: the file is none, or ends too early.
    """
    at = 0

    def take(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(f"<{kind}", data, at)
        at += struct.calcsize(kind)
        return value

    def word() -> str:
        nonlocal at
        size = take("H")  # with a zero at the end
        text = bytes(data[at : at + size - 1]).decode()
        at += size
        return text

    if (version := take("I")) != BINARY_VERSION:
        raise ValueError(f"version {version}, {BINARY_VERSION} is known")
    word()  # kind of model
    take("I")  # its revision
    for _ in range(take("I")):
        name = word()
        shape = [take("I") for _ in range(take("B"))]
        dtype, size = np.dtype(DTYPES[take("B")]), take("I")
        yield name, np.frombuffer(data, dtype, size // dtype.itemsize, at).reshape(shape)
        at += size
