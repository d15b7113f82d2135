"""From a released checkpoint to a trained one and back, as the README's commands do it, at tiny size."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from experiments.run.assemble import assets, start
from experiments.run.initial import base_model
from ml_collections import ConfigDict
from toy_world import UNITS, WORLD, make_model, make_tokenizer

from experiments.configs import finetune
from fac_jax.checkpoint.export import export_model, load_config, load_params
from fac_jax.checkpoint.release.convert import export_release, import_release
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.training.recipe import run_recipe
from fac_jax.types import InputError


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bfloat16 checkpoint in the release's layout, with a tokenizer and settings of its own in config.json."""
    folder = tmp_path_factory.mktemp("released")
    model = replace(make_model(make_tokenizer(folder)), head_prefill="release", param_dtype="bfloat16")
    origin = {"stage": "test", "order": 0, "steps": 0}
    tokenizer = {"tokenizer.json": folder / "tokenizer.json"}
    export_model(folder / "made", init_params(model, jax.random.key(0)), model, origin, tokenizer)
    export_release(folder / "made", folder / "hf", "bfloat16")
    config = json.loads((folder / "hf" / "config.json").read_text())
    (folder / "hf" / "config.json").write_text(json.dumps({**config, "their_key": 7}))
    (folder / "hf" / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 999}))
    import_release(folder / "hf", folder / "ours")
    return folder


def make_config(initial: Path) -> ConfigDict:
    config = finetune.get_config()
    values: dict[str, Any] = {
        "model.init_from": str(initial),
        "data.world": dataclasses.asdict(WORLD),
        "data.codec.units": UNITS,
        "stages.finetune.steps": 2,
        "stages.finetune.data": {"counts": {"s2s": 1, "t2s": 1}},
    }
    config.unlock()
    config.update_from_flattened_dict(values)
    return config


def test_a_converted_checkpoint_trains_and_goes_back(released: Path, tmp_path: Path) -> None:
    workdir = tmp_path / "run"
    materials, recipe = start(make_config(released / "ours"), workdir, released / "data")
    assert recipe.initial == released / "ours"
    assert materials.model.special == load_config(released / "ours").special
    run_recipe(recipe, workdir, materials.data, assets(workdir))
    export_release(workdir, tmp_path / "hf", "bfloat16")

    before, after = TensorFolder(released / "hf"), TensorFolder(tmp_path / "hf")
    assert before.shapes == after.shapes
    assert any(np.any(before[name] != after[name]) for name in before)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["their_key"] == 7
    settings = (tmp_path / "hf" / "tokenizer_config.json").read_text()
    assert settings == (released / "hf" / "tokenizer_config.json").read_text()
    # What it trained in float32 comes back in float32, with its codec.
    import_release(tmp_path / "hf", tmp_path / "again")
    assert (tmp_path / "again" / "codec" / "codec.json").exists()
    trained, again = (load_params(folder)[0] for folder in (workdir, tmp_path / "again"))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a).astype(b.dtype), b), trained, again)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"init_from": None}, "model.init_from is not set"),
        ({"init_from": "nowhere"}, "nowhere: no such checkpoint folder"),
        ({"presets": "tiny"}, "model.init_from is not set"),
    ],
)
def test_a_model_to_start_from_must_be_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        base_model(values)


def _no_tokenizer(model: Path) -> None:
    (model / "tokenizer.json").unlink()
    (model / "tokenizer_config.json").unlink()


def _other_special(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["special"]["sil"] -= 1
    (model / "config.json").write_text(json.dumps(config))


def _few_units(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["special"]["speech_bos"] = 4
    (model / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_tokenizer, "tokenizer.json: no such file; the model's tokenizer is needed"),
        (_other_special, r"the tokenizer gives <\|sil\|> the id \d+, config.json \d+"),
        (_few_units, f"the codec has {UNITS} units, the model 4; set --config.data.codec.units"),
    ],
)
def test_a_model_to_start_from_must_be_whole(change: Any, words: str, released: Path, tmp_path: Path) -> None:
    shutil.copytree(released / "ours", tmp_path / "model")
    change(tmp_path / "model")
    with pytest.raises(InputError, match=words):
        start(make_config(tmp_path / "model"), tmp_path / "run", released / "data")
