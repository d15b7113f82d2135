"""Damaged releases at `python -m experiments.convert`: exit code 2, one line that names it, and nothing left behind."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_model import FOLDER
from recorded_copies import FAULTS, Change, Refused, write

from fac_jax.checkpoint.release.convert import import_release
from fac_jax.checkpoint.release.tensors import INDEX, SINGLE
from fac_jax.text.tokenizer import train_tokenizer

DENSE = FOLDER / "dense"


def config(**changes: Any) -> Change:
    """Changes values of config.json; `text__hidden_act` is that of text_config."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        audio = values["audio_config"]
        parts = {"text": values["text_config"], "audio": audio, "head": audio["crq_transformer_config"], "top": values}
        for key, value in changes.items():
            part, name = key.split("__")
            parts[part][name] = value
        (folder / "config.json").write_text(json.dumps(values))

    return change


def dangle(folder: Path) -> None:
    (folder / SINGLE).unlink()
    (folder / SINGLE).symlink_to(folder / "nowhere")


def index(text: str) -> Change:
    def change(folder: Path) -> None:
        (folder / SINGLE).unlink()
        (folder / INDEX).write_text(text)

    return change


def other_tokenizer(folder: Path) -> None:
    train_tokenizer(["one plus one is two"], 300, folder / "tokenizer.json")


UNHEARD = {"rope_type": "yarn", "factor": 4.0}
IMPORTS: dict[str, tuple[Change, str]] = {
    "config is a list": (write("config.json", "[]"), "config.json: must hold a JSON object, holds a list"),
    "config is not UTF-8": (write("config.json", b"\xff\xfe{}"), "config.json: not JSON: 'utf-8'"),
    "null number": (
        config(text__num_attention_heads=None),
        "text_config: num_attention_heads is null, must be a whole",
    ),
    "word for a number": (config(audio__d_model="48"), 'audio_config: d_model is "48", must be a whole number above 0'),
    "odd window": (config(audio__n_window=25), "audio_config: n_window 25 is odd"),
    "heads": (config(audio__encoder_attention_heads=5), "d_model 48 is no multiple of encoder_attention_heads 5"),
    "kv heads": (config(text__num_key_value_heads=3), "4 num_attention_heads cannot share 3 num_key_value_heads"),
    "mode": (config(audio__continuous_features_mode="mix"), "continuous_features_mode is 'mix'"),
    "experts": (config(text__num_experts=4, text__num_experts_per_tok="2"), 'num_experts_per_tok is "2"'),
    "rope of nothing": (config(text__rope_theta=0), "text_config: rope_theta is 0, must be a finite"),
    "rope backwards": (config(head__rope_theta=-1.0), "crq_transformer_config: rope_theta is -1.0, must be a finite"),
    "rope is no number": (config(text__rope_theta=float("nan")), "text_config: rope_theta is NaN, must be a finite"),
    "unknown prefill": (
        config(top__fac_jax={"head_prefill": "x"}),
        "fac_jax.head_prefill is 'x'; known: as_",
    ),
    "context in words": (config(top__fac_jax={"context": "x"}), "config key fac_jax.context must be a whole number"),
    "no context": (
        config(top__fac_jax={"context": 0}),
        "model config key context is 0, must be a whole number above 0",
    ),
    "id beyond the rows": (config(text__sil_index=320), "special.sil is 320, must be from 0 to 319"),
    "odd head": (config(text__head_dim=23), "text.head_dim is 23, must be even"),
    "index is a list": (index("[1]"), f"{INDEX}: must hold a JSON object"),
    "weight_map is a list": (index('{"weight_map": ["a"]}'), f'{INDEX}: weight_map is ["a"], must be an object'),
    "weight_map of numbers": (index('{"weight_map": {"a": 1}}'), "weight_map: a is 1, must be a string"),
    "shard is a dangling link": (dangle, f"shard {SINGLE} is missing"),
    "broken tokenizer": (write("tokenizer.json", "{"), "tokenizer file is not JSON"),
    "no tokenizer": (write("tokenizer.json", '{"model": {}}'), "tokenizer.json: no tokenizer"),
    "another tokenizer": (other_tokenizer, "<|im_end|> is 295, in the model 301"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_damaged_release_is_refused(name: str, kept: Path, tmp_path: Path, refused: Refused) -> None:
    change, words = IMPORTS[name]
    shutil.copytree(kept / "hf", tmp_path / "hf")
    change(tmp_path / "hf")
    assert words in refused("hf-to-jax", tmp_path / "hf", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_tensors_exit_with_two(name: str, kept: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(kept / "shards", tmp_path / "hf")
    FAULTS[name][0](tmp_path / "hf")
    refused("hf-to-jax", tmp_path / "hf", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_what_changes_numbers_is_refused_at_once(kept: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(kept / "hf", tmp_path / "hf")
    config(
        text__use_sliding_window=True,
        text__hidden_act="gelu",
        text__rope_scaling=UNHEARD,
        text__layer_types=["full_attention", "sliding_attention"],
        head__attention_bias=True,
        audio__scale_embedding=True,
        audio__activation_function="relu",
    )(tmp_path / "hf")
    told = refused("hf-to-jax", tmp_path / "hf", tmp_path / "ours")
    for words in (
        *("text_config: use_sliding_window is True", "text_config: hidden_act is 'gelu'"),
        *("rope_scaling is of the type 'yarn'", "layer_types has 'sliding_attention'"),
        *("audio_config.crq_transformer_config: attention_bias is True", "audio_config: scale_embedding is True"),
        "audio_config: activation_function is 'relu', not 'gelu'",
    ):
        assert words in told


def test_rope_of_equal_sections_is_plain(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "hf", tmp_path / "hf")
    config(text__rope_scaling={"rope_type": "default", "mrope_section": [4, 4, 4]})(tmp_path / "hf")
    import_release(tmp_path / "hf", tmp_path / "ours")


def test_a_recorded_run_that_cannot_be_read_is_refused(tmp_path: Path, refused: Refused) -> None:
    whole = (DENSE / "io.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.ones(3))
    np.savez(tmp_path / "objects.npz", **{"text/input_ids": np.array([None])})
    for name, content in {
        "empty.npz": b"",
        "truncated.npz": whole[:20_000],
        "one.npy": None,
        "objects.npz": None,
    }.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert f"{name}: no recorded arrays" in refused("verify", DENSE, "--recorded", tmp_path / name)
    np.savez(tmp_path / "other.npz", **{"text/input_ids": np.ones((1, 3), int), "text/logits": np.ones((1, 3, 9))})
    told = refused("verify", DENSE, "--recorded", tmp_path / "other.npz")
    assert "other.npz: text-only logits is" in told and "is it another model's run?" in told
