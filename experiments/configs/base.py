"""Builds whole configs: every field of `experiments.run.schema.RunConfig` is a key, with its value or unset.

A config file calls `config(..)` with what it changes. Any key can then be set on the command line
(`--config.model.group_size=1`), on an axis of a sweep, or from Python; `experiments.train --show_config` prints what
comes out. An unset key of `model` is that of the preset, or of the model to start from; an unset `seed` is the run's.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from experiments.run.schema import MODEL_SOURCE, DataConfig, QuestionsConfig, RunConfig, SetConfig
from fac_jax.batching.batch_config import BatchConfig
from fac_jax.config import from_tree, to_config_dict
from fac_jax.losses import AnyLoss, Sft
from fac_jax.models.config import ModelConfig
from fac_jax.training.evals import EvalConfig
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.stage import MergeConfig, StageConfig

SEED = "seed"


def stage(
    steps: int,
    peak: float,
    mixture: Mapping[str, float],
    *,
    loss: AnyLoss | None = None,
    optimizer: Mapping[str, Any] | None = None,
    data: Mapping[str, Any] | None = None,
    **changes: Any,
) -> StageConfig:
    """Returns a stage as the release is fine-tuned: AdamW, cosine to a tenth of `peak`, a warm-up of 2 %.

    Args:
      steps: updates.
      peak: greatest learning rate.
      mixture: weight of every set.
      loss: what is minimised; the cross-entropy of both streams if None.
      optimizer: changes of `OptimizerConfig`.
      data: changes of `BatchConfig`.
      changes: other fields of `StageConfig`.
    """
    schedule = OptimizerConfig(**{"peak": peak, "floor": peak / 10, **(optimizer or {})})
    batches = BatchConfig(**{"mixture": dict(mixture), **(data or {})})
    return StageConfig("", steps, schedule, batches, loss or Sft(), **changes)


def merge_stage(start: str | None, alphas: Mapping[str, float], **changes: Any) -> StageConfig:
    """Returns a stage without steps that merges with the model of an earlier one, None for `model.init_from`."""
    return StageConfig("", 0, merge=MergeConfig(start, dict(alphas)), **changes)


def config(
    model: Mapping[str, Any],
    stages: Mapping[str, StageConfig],
    *,
    data: DataConfig,
    recipe: tuple[str, ...] | None = None,
    evals: EvalConfig | None = None,
    questions: QuestionsConfig | None = None,
) -> ConfigDict:
    """Returns the whole config."""
    found: Any = ConfigDict({SEED: 0, "recipe": tuple(stages) if recipe is None else recipe})
    found.model = to_config_dict(ModelConfig, unset=True)
    for key in MODEL_SOURCE:
        found.model[key] = placeholder(str)
    found.model.update(ConfigDict(dict(model)))
    rows: Any = to_config_dict(data)
    for name in ("world", "unit_codec"):
        rows[name][SEED] = placeholder(int)
    found.data = rows
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}
    for key in ("mesh", "evals", "questions"):
        given = {"evals": evals, "questions": questions}.get(key)
        found[key] = to_config_dict(defaults[key] if given is None else given)
    for key in ("rules", "attention", "trackers"):
        found[key] = defaults[key]
    found.stages_dir = placeholder(str)
    found.stages = ConfigDict({name: _stage(one) for name, one in stages.items()})
    return found


def from_json(tree: Mapping[str, Any]) -> ConfigDict:
    """Returns the whole config of a resolved tree (`RunConfig.tree`), or of one with keys that are unset.

    Raises:
      InputError: an unknown key, or a value of another type.
    """
    stages = {
        name: from_tree(StageConfig, {"name": "", **one}, f"stages.{name}") for name, one in tree["stages"].items()
    }
    found: Any = config(
        _set_only(tree["model"]),
        stages,
        data=from_tree(DataConfig, tree["data"], "data"),
        recipe=tuple(tree["recipe"]),
        evals=from_tree(EvalConfig, tree["evals"], "evals"),
        questions=from_tree(QuestionsConfig, tree["questions"], "questions"),
    )
    for key in (SEED, "rules", "attention", "trackers", "stages_dir"):
        if tree.get(key) is not None:
            found[key] = tuple(tree[key]) if isinstance(tree[key], list) else tree[key]
    found.mesh.update(_set_only(tree["mesh"]))
    seeds = {("stages", name): one for name, one in tree["stages"].items()}
    seeds |= {("data", key): tree["data"][key] for key in ("world", "unit_codec") if tree["data"].get(key)}
    for (room, key), one in seeds.items():
        if one.get(SEED) is not None:
            found[room][key][SEED] = one[SEED]
    return found


def _set_only(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a tree that are not None."""
    inner = {key: _set_only(value) if isinstance(value, Mapping) else value for key, value in tree.items()}
    kept = {key: value for key, value in inner.items() if value is not None and value != {}}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in kept.items()}


def rows(path: str | None = None, **changes: Any) -> SetConfig:
    """Returns a set of rows of one's own; `path` can be left to the command line."""
    return SetConfig(path, **changes)


def _stage(one: StageConfig) -> ConfigDict:
    found = to_config_dict(one)
    del found["name"]
    found[SEED] = placeholder(int)
    return found
