"""From a config to what training needs: stages, and the data, codec, tokenizer and model that they share.

`data.sets` in the config names rows of one's own (`record_materials`); without it, data are the toy world's
(`toy_materials`).

WORKDIR/codec/       that of the model to start from, or of the data
WORKDIR/tokenizer/   that of the model to start from, or of the data
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

from ml_collections import ConfigDict

from experiments.run import record_config
from experiments.run import records as record_materials
from experiments.run import toy as toy_materials
from experiments.run.initial import base_model, initial_folder
from experiments.run.mesh import layout_of
from experiments.run.record_config import RecordsConfig
from experiments.run.records import RecordMaterials
from experiments.run.toy import DataConfig, Materials
from fac_jax.checkpoint.assets import CODEC
from fac_jax.config import from_values
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.hosts import first_goes_first
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import Layout
from fac_jax.training.recipe import Recipe, lock_config, start_folders
from fac_jax.training.stage import StageConfig
from fac_jax.training.trackers import DEFAULT, check_trackers
from fac_jax.types import InputError


def assets(workdir: Path) -> dict[str, Path]:
    """What goes into every finished model beside its parameters."""
    codec = {CODEC: workdir / CODEC} if (workdir / CODEC).exists() else {}
    return {file.name: file for file in (workdir / "tokenizer").iterdir()} | codec


def data_config(config: ConfigDict) -> DataConfig:
    """`config.data` of the toy world as a frozen dataclass.

    Raises:
      InputError: a key that it does not have.
    """
    return from_values(DataConfig, config.to_dict()["data"], "data")


def stages(config: ConfigDict) -> tuple[StageConfig, ...]:
    """The stages that `config.recipe` lists, each described in `config.stages`.

    Raises:
      InputError: a stage that is not described, or a key that stages do not have.
    """
    values = config.to_dict()
    described = values["stages"]
    unknown = [name for name in values["recipe"] if name not in described]
    if unknown:
        raise InputError(f"recipe lists stage {unknown[0]}, config.stages has {', '.join(described)}")
    return tuple(
        from_values(StageConfig, {"name": name, **described[name]}, f"stages.{name}") for name in values["recipe"]
    )


def make_recipe(config: ConfigDict, model: ModelConfig, layout: Layout | None) -> Recipe:
    """The recipe of a config, for a model that was fitted to its data.

    Raises:
      InputError: see `stages`; or a stage aligns an encoder that the model does not hear.
    """
    initial = initial_folder(config.to_dict()["model"])
    trackers = tuple(cast(Sequence[str], config.get("trackers", DEFAULT)))
    check_trackers(trackers)
    attention = cast(Attention, config.get("attention", "einsum"))
    found = stages(config)
    for stage in found:
        stage.loss.check_model(model, f"stages.{stage.name}")
    return Recipe(model, found, initial, layout, attention, trackers)


def check(config: ConfigDict) -> None:
    """Whether a config can be run, as far as its words tell: no file is read, no device asked.

    Raises:
      InputError: a stage, a model or data that cannot be; a model to start from that is not there.
    """
    values = config.to_dict()
    recipe = make_recipe(config, base_model(values["model"]), None)
    start_folders(recipe, Path())
    if "sets" in values["data"]:
        data = from_values(RecordsConfig, values["data"], "data")
        record_config.check(data, recipe.stages, recipe.model.user_audio)
    else:
        data_config(config)


def start(config: ConfigDict, workdir: Path, data_dir: Path) -> tuple[Materials | RecordMaterials, Recipe]:
    """Checks a config, claims the workdir for it, and makes everything that comes before training.

    Args:
      config: `model` (`preset` or `init_from`, and changes), `data` (`RecordsConfig` with `sets`, else `DataConfig`),
        `stages` by name, `recipe` (their names in order); `mesh`, `rules`, `attention` (`experiments.run.mesh`).
      workdir: of the run.
      data_dir: of data sets.

    Raises:
      InputError: a bad config, or the workdir holds another one; rows that cannot be read or trained on.
    """
    values = config.to_dict()
    if "sets" not in values["data"]:
        return start_toy(config, workdir, data_dir)
    data = from_values(RecordsConfig, values["data"], "data")
    layout = layout_of(config)
    recipe = make_recipe(config, base_model(values["model"]), layout)
    record_config.check(data, recipe.stages, recipe.model.user_audio)
    with first_goes_first("materials"):
        lock_config(workdir, values)
        materials = record_materials.prepare(data, values["model"], recipe.stages, workdir, data_dir, layout)
    return materials, make_recipe(config, materials.model, layout)


def start_toy(config: ConfigDict, workdir: Path, data_dir: Path) -> tuple[Materials, Recipe]:
    """`start` in the toy world, whose rows can be asked about."""
    values = config.to_dict()
    data, layout = data_config(config), layout_of(config)
    make_recipe(config, base_model(values["model"]), layout)
    with first_goes_first("materials"):
        lock_config(workdir, values)
        materials = toy_materials.prepare(data, values["model"], workdir, data_dir, layout)
    return materials, make_recipe(config, materials.model, layout)
