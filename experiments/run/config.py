"""Resolves a ConfigDict into the config of a run (`experiments.run.schema.RunConfig`), and checks it."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Final

from ml_collections import ConfigDict

from data_pipelines.loading.sources import mixture_shares
from data_pipelines.worlds.schema import PAIR_SPLITS
from data_pipelines.worlds.views import VIEWS
from experiments.run.ears import encoder_shape
from experiments.run.schema import MODEL_SOURCE, DataConfig, RunConfig
from fac_jax.batching.batch_config import check_divides
from fac_jax.checkpoint.export import load_config, resolve
from fac_jax.config import from_tree, is_unset, nearest, to_tree
from fac_jax.models import limits
from fac_jax.models.config import EncoderConfig, ModelConfig, replace
from fac_jax.models.presets import preset
from fac_jax.parallel.mesh import Layout
from fac_jax.training.recipe import check_parameters, check_starts
from fac_jax.training.stage import StageConfig
from fac_jax.training.trackers import check_trackers
from fac_jax.types import InputError

NAME: Final = re.compile(r"[A-Za-z0-9_]+")


def resolve_config(config: ConfigDict | Mapping[str, Any]) -> RunConfig:
    """Returns the config of a run, checked as far as its words tell; no data is read and no device is asked.

    Raises:
      InputError: an unknown key, a value that cannot be, stages that do not fit each other, or no such model.
    """
    tree = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    described, recipe = tree.pop("stages"), tree.pop("recipe", None)
    names = tuple(described) if recipe is None else tuple(recipe)
    unknown = [name for name in names if name not in described]
    if unknown:
        raise InputError(f"recipe lists stage {unknown[0]}{nearest(unknown[0], described)}")
    seed = tree.get("seed") or 0
    stages = tuple(_stage(name, described[name], seed) for name in names)
    source, model = _model(tree.pop("model"))
    for key, part in (("world", tree["data"].get("world")), ("unit_codec", tree["data"].get("unit_codec"))):
        if not is_unset(part) and part.get("seed") is None:
            tree["data"] = {**tree["data"], key: {**part, "seed": seed}}
    limits.check(model)
    found = from_tree(RunConfig, {**tree, **source, "model": model, "stages": stages})
    check(found)
    return found


def shown_config(config: ConfigDict) -> dict[str, Any]:
    """Returns the whole resolved config as a JSON-able tree; without a model to start from, `model` as it was set.

    Raises as `resolve_config`.
    """
    tree = config.to_dict()
    if any(tree["model"].get(key) for key in MODEL_SOURCE):
        return resolve_config(config).tree()
    shown = resolve_config({**tree, "model": {**tree["model"], "preset": "tiny"}}).tree()
    return {**shown, "model": tree["model"]}


def _stage(name: str, tree: Mapping[str, Any], seed: int) -> StageConfig:
    given = {**tree, "seed": seed} if tree.get("seed") is None else tree
    try:
        return from_tree(StageConfig, {"name": name, **given}, f"stages.{name}")
    except InputError as error:
        where = f"stages.{name}"
        raise (error if where in str(error) else InputError(f"{where}: {error}")) from None


def _model(tree: Mapping[str, Any]) -> tuple[dict[str, Any], ModelConfig]:
    """Returns the keys of where the model comes from, and its config with the changes of a tree."""
    source = {key: tree.get(key) or None for key in MODEL_SOURCE}
    if source["init_from"]:
        source["preset"] = None
        start = load_config(resolve(source["init_from"]))
        if source["encoder_from"]:
            raise InputError(
                "config keys model.init_from and model.encoder_from: set one of them; convert assemble joins"
            )
    elif source["preset"]:
        start = preset(source["preset"])
        if source["encoder_from"] and None in _audio_keys(tree):  # a resolved config needs no file
            shape = encoder_shape(source["encoder_from"])
            start = dataclasses.replace(start, audio=dataclasses.replace(shape, n_window=start.n_window))
    else:
        raise InputError("config key model.init_from is not set: --config.model.init_from=DIR, a model to start from")
    changes = {key: value for key, value in tree.items() if key not in MODEL_SOURCE}
    # Master weights are float32 whatever the dtype of the checkpoint, unless another dtype is asked for by name.
    values = _changed({**to_tree(start), "param_dtype": "float32"}, changes)
    return source, from_tree(ModelConfig, values, "model")


def _audio_keys(tree: Mapping[str, Any]) -> list[Any]:
    """Returns the values of all keys of `model.audio` in a tree, None where one is not set."""
    audio = tree.get("audio") or {}
    return [audio.get(field.name) for field in dataclasses.fields(EncoderConfig)]


def _changed(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a tree with the values of another tree that are not None."""
    found = dict(tree)
    for key, value in changes.items():
        if isinstance(value, Mapping):
            inner = _changed(found.get(key) or {}, value)
            found[key] = inner if inner or key in tree and tree[key] is not None else None
        elif value is not None:
            found[key] = value
    return found


def check(config: RunConfig) -> None:
    """Checks the parts of a config against each other, before anything is made.

    Raises:
      InputError: no stages, or some that do not follow from each other, a mixture of sets that do not exist, batches
        that a loss cannot have, unknown trackers.
    """
    if not config.stages:
        raise InputError("recipe names no stage")
    check_starts(config.stages)
    check_trackers(config.trackers)
    if config.data.codec is not None and config.data.unit_codec is not None:
        raise InputError(f"config keys data.codec ({config.data.codec}) and data.unit_codec: set one of them")
    known = set_names(config.data)
    wrong = [name for name in config.data.sets if not NAME.fullmatch(name)]
    if wrong:
        raise InputError(f"data.sets: {wrong[0]!r} is no name of letters, digits and underscores")
    unknown = [name for name in config.evals.sets if name not in known]
    if unknown:
        raise InputError(f"evals.sets names {unknown[0]!r}{nearest(unknown[0], known)}")
    for stage in config.stages:
        if stage.steps:
            _check_stage(config, stage, known)
    changes = {"data": config.data.waves, **{f"data.sets.{name}": one.waves for name, one in config.data.sets.items()}}
    for where, waves in changes.items():
        if config.model.user_audio == "tokens" and waves.operations():
            raise InputError(
                f"{where}.waves changes what is heard every epoch, whose tokens are made once: leave it out, "
                'or set model.user_audio = "waveform"'
            )


def set_names(data: DataConfig) -> list[str]:
    """Returns the names of all sets, those of the toy world included."""
    tasks = [name for name, view in VIEWS.items() if data.pairs or view.splits is not PAIR_SPLITS]
    return [*data.sets, *(tasks if data.world else [])]


def _check_stage(config: RunConfig, stage: StageConfig, known: list[str]) -> None:
    where, mixture = f"stages.{stage.name}", stage.data.sources
    unknown = [name for name in mixture if name not in known]
    if unknown or not mixture:
        wrong = f"names {unknown[0]!r}{nearest(unknown[0], known)}" if unknown else "is empty"
        raise InputError(f"{where}.data.mixture {wrong}")
    try:
        mixture_shares(stage.data.mixture, dict.fromkeys(mixture, 1), stage.data.temperature)
    except InputError as error:
        raise InputError(f"{where}.data: {error}") from None
    stage.loss.check(config.model, stage.data.segments, where)
    if stage.data.feature_copies and config.model.user_audio == "tokens":
        raise InputError(f'{where}.data.feature_copies: a model with user_audio "tokens" does not run its encoder')
    own = [name for name in mixture if name in config.data.sets and stage.data.augment]
    changed = [name for name in own if config.data.sets[name].waves.operations()]
    if stage.loss.needs_reference == "stored" and changed:
        raise InputError(
            f"{where}: data.sets.{changed[0]}.waves changes what is heard every epoch, which a stored reference has "
            'not heard: set loss.reference = "frozen"'
        )
    check_divides(stage.data.batch_rows, stage.micro_batches, f"{where}.data.batch_rows")


def check_layout(config: RunConfig, layout: Layout | None) -> None:
    """Checks that the mesh divides the batches of every stage and the model, and what the stages ask of the model.

    Raises:
      InputError: it does not; names the key and the nearest values that it divides, or the parameter.
    """
    model = config.model
    if config.init_from is None and layout is not None:  # data will say how many ids there are; any mesh divides these
        ids = 128 * layout.mesh.size
        model = replace(model, vocab_size=ids, codebook_size=ids)
    check_parameters(model, config.stages, layout)
    shards = 1 if layout is None else layout.batch_shards
    for stage in config.stages:
        if stage.steps:
            name = f"stages.{stage.name}.data.batch_rows"
            check_divides(stage.data.batch_rows, shards * stage.micro_batches, name)
