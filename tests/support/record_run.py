"""A tiny model to start from, and configs that train it on rows of one's own."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from initial import initial_params
from ml_collections import ConfigDict
from toy_world import UNITS, make_model, make_tokenizer
from user_rows import PLACEHOLDER, heard, release_row, save, spoken, write_jsonl

from experiments.configs import finetune
from experiments.run.data import Run
from experiments.run.schema import SetConfig
from experiments.run.setup import assets, recipe_of, start
from fac_jax.checkpoint.export import CODEC, export_model
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.codec.unit_pool import BINS, STACK
from fac_jax.config import from_tree, to_config_dict
from fac_jax.models.config import replace
from fac_jax.training.metrics import read_curve
from fac_jax.training.run_recipe import run_recipe

STAGE = {"batch_rows": 1, "seq_len": 96, "windows_per_row": 16}  # one shape, so that most tests share a program


def write_initial(folder: Path, seed: int = 0, codec: bool = False, **changes: Any) -> Path:
    """A model of ours with a tokenizer, and a codec of random units if asked; `changes` are keys of the model."""
    folder.mkdir(parents=True, exist_ok=True)
    model = replace(make_model(make_tokenizer(folder)), **changes)
    origin = {"stage": "test", "order": 0, "steps": 0}
    copied = {"tokenizer.json": folder / "tokenizer.json"}
    if codec:
        centroids = np.random.default_rng(seed).standard_normal((UNITS, STACK * BINS)).astype(np.float32)
        UnitCodec(centroids, UnitCodecConfig(units=UNITS)).save(folder / CODEC)
        copied[CODEC] = folder / CODEC
    params = initial_params(model, seed)
    export_model(folder / "model", params, model, origin, copied)
    return folder / "model"


def make_config(initial: Path | None, sets: dict[str, Any], steps: int = 2, **stage: Any) -> ConfigDict:
    """`configs/finetune.py` at tiny size; `stage` are keys of the stage, `data` of its batches."""
    config: Any = finetune.get_config()
    with config.unlocked():
        made = {name: from_tree(SetConfig, one, f"data.sets.{name}") for name, one in sets.items()}
        config.data.sets = ConfigDict({name: to_config_dict(one) for name, one in made.items()})
        mixture = stage.get("data", {}).pop("mixture", dict.fromkeys(sets, 1.0))
        config.stages.finetune.data.mixture = ConfigDict(mixture)
    config.model.remat = "none"
    if initial is not None:
        config.model.init_from = str(initial)
    data = {**STAGE, **stage.pop("data", {})}
    config.stages.finetune.data.update({"windows_per_row": None, "segments": None})
    config.stages.finetune.data.update({key: value for key, value in data.items() if value is not None})
    config.stages.finetune.data.temperature = None
    config.stages.finetune.update({"steps": steps, "checkpoint_every": steps, **stage})
    return config


def begin(config: ConfigDict, folder: Path, name: str = "run") -> Run:
    """Everything before training."""
    return start(config, epath.Path(folder / name), folder / "data")


def run(config: ConfigDict, folder: Path, name: str = "run") -> tuple[Run, list[dict[str, float]]]:
    """Trains to the end; gives the run and the curve of the last stage."""
    found = begin(config, folder, name)
    recipe = recipe_of(found)
    run_recipe(recipe, found.workdir, found, assets(found))
    return found, read_curve(folder / name / recipe.stages[-1].name)


def lines(file: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def dialogues(folder: Path, count: int, name: str = "rows", words: str = "one plus two is three") -> Path:
    """Spoken questions of different lengths with spoken replies."""
    rows = []
    for i in range(count):
        seconds = 0.4 + 0.1 * (i % 5)
        save(folder / f"{i % 5}.wav", seconds)
        audio = [heard(f"{i % 5}.wav", seconds), spoken(words, [i % 16] * (3 + i % 7))]
        rows.append({"id": f"{name}{i}", **release_row(PLACEHOLDER, PLACEHOLDER, audio=audio)})
    return write_jsonl(folder / f"{name}.jsonl", rows)
