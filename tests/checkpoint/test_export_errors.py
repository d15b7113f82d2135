"""Damaged models of ours at `python -m experiments.convert jax-to-hf`: exit code 2 and nothing left behind."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from recorded_copies import Change, Refused, write


def ours(**changes: Any) -> Change:
    """Changes values in the config.json of a model of ours; `text__num_heads` is that of text."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            part, name = key.split("__")
            (values if part == "top" else values[part])[name] = value
        (folder / "config.json").write_text(json.dumps(values))

    return change


def cut_params(model: Path) -> None:
    largest = max((file for file in (model / "params").rglob("*") if file.is_file()), key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])


EXPORTS: dict[str, tuple[Change, str]] = {
    "truncated parameters": (cut_params, "cannot be read, it is damaged or incomplete"),
    "lost parameters": (lambda model: shutil.rmtree(model / "params" / "d"), "cannot be read, it is damaged"),
    "broken release.json": (write("release.json", "{"), "release.json: not JSON"),
    "release.json of another kind": (write("release.json", '{"config": []}'), "release.json: config is [], must be"),
    "broken config.json": (write("config.json", "[]"), "config.json: must hold a JSON object"),
    "heads in words": (ours(text__num_heads="x"), "config.json: config key text.num_heads must be a whole number"),
    "another dtype": (ours(top__dtype="int8"), "config.json: model config key dtype is 'int8'"),
    "no group": (
        ours(top__group_size=0),
        "model config key group_size is 0, must be",
    ),
    "no eos": (ours(special__eos=None), "config.json: config key special.eos is missing"),
    "rope is no number": (
        ours(text__rope_theta=float("nan")),
        "config key text.rope_theta must be a number",
    ),
    "endless rope": (ours(text__rope_theta=float("inf")), "text.rope_theta is inf, must be a finite number above 0"),
    "unknown key": (ours(top__groupsize=5), "config.json: unknown config key groupsize; did you mean group_size?"),
    "odd window": (ours(audio__n_window=25), "config.json: n_window must be even"),
    "head heads": (ours(head__num_kv_heads=3), "head.num_heads is 4, must be a multiple of head.num_kv_heads"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_damaged_model_is_refused(name: str, kept: Path, tmp_path: Path, refused: Refused) -> None:
    change, words = EXPORTS[name]
    shutil.copytree(kept / "ours", tmp_path / "ours")
    change(tmp_path / "ours")
    assert words in refused("jax-to-hf", tmp_path / "ours", tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
