"""A tiny model to start from, and configs that train it on rows of one's own."""

from pathlib import Path
from typing import Any

import numpy as np
from etils import epath
from initial import initial_params
from ml_collections import ConfigDict
from toy_world import UNITS, make_model, make_tokenizer

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
