"""A tiny model to start from, and configs that train it on rows of one's own."""

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from toy_world import make_model, make_tokenizer

from experiments.configs import records
from experiments.run.assemble import assets, start
from experiments.run.records import RecordMaterials
from fac_jax.checkpoint.export import export_model
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.training.metrics import read_curve
from fac_jax.training.recipe import run_recipe

STAGE = {"rows": 1, "seq_len": 96, "windows": 16}  # one shape, so that most tests share what is compiled


def write_initial(folder: Path) -> Path:
    """A model of ours with a tokenizer and no codec."""
    model = make_model(make_tokenizer(folder))
    origin = {"stage": "test", "order": 0, "steps": 0}
    tokenizer = {"tokenizer.json": folder / "tokenizer.json"}
    export_model(folder / "model", init_params(model, jax.random.key(0)), model, origin, tokenizer)
    return folder / "model"


def make_config(initial: Path | None, sets: dict[str, Any], steps: int = 2, **stage: Any) -> ConfigDict:
    """`configs/records.py` at tiny size; `stage` are keys of the stage, `data` of its batches; None leaves one out."""
    config = records.get_config()
    config.unlock()
    config.data.sets = ConfigDict(sets)
    config.model.remat = "none"
    if initial is not None:
        config.model.init_from = str(initial)
    data = {**STAGE, "mixture": dict.fromkeys(sets, 1.0), **stage.pop("data", {})}
    data = {key: value for key, value in data.items() if value is not None}
    config.stages.finetune.update({"steps": steps, "checkpoint_every": steps, **stage})
    config.stages.finetune.data = ConfigDict(data)
    return config


def run(config: ConfigDict, folder: Path, name: str = "run") -> tuple[RecordMaterials, list[dict[str, float]]]:
    """Trains to the end; gives the materials and the curve of the last stage."""
    workdir = folder / name
    materials, recipe = start(config, workdir, folder / "data")
    assert isinstance(materials, RecordMaterials)
    run_recipe(recipe, workdir, materials.data, assets(workdir))
    return materials, read_curve(workdir / recipe.stages[-1].name)
