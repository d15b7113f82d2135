"""The runs of a sweep: each has a name that says what differs, and a whole config."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from absl import flags
from ml_collections import ConfigDict, config_flags

from experiments.sweeps.axes import Point, axis_points, short_keys, written
from experiments.sweeps.config import SweepConfig
from fac_jax import config_files
from fac_jax.config import known_keys, nearest
from fac_jax.types import InputError

CONFIGS = Path(__file__).parents[1] / "configs"  # those that are shipped
LONGEST = 200  # characters of a run's name; file systems take 255
NAMED = ("mixture", "alphas", "task_weights", "sets")  # their keys are names, of which there can be more


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: its name ("group_size=3,seed=1"), changes of the base config by key, and its whole config."""

    name: str
    changes: Mapping[str, Any]
    config: Mapping[str, Any]


def load_config(file: str) -> ConfigDict:
    """Returns the config of a file; a shipped one is found by its name from any folder.

    Raises:
      InputError: there is neither such a file nor such a name.
    """
    path, colon, argument = file.partition(":")
    if not Path(path).is_file():
        try:
            path = str(config_files.find(Path(path).stem, CONFIGS))
        except InputError as error:
            raise InputError(f"config is {file}: {error}") from None
    file = f"{path}{colon}{argument}"
    values = flags.FlagValues()
    # ml_collections looks for changes of the flag in sys.argv: under another name it finds none.
    flag = config_flags.DEFINE_config_file("base_config", file, flag_values=values)
    values(["sweep"])
    return flag.value


def make_runs(sweep: SweepConfig, check: Callable[[ConfigDict], object]) -> list[Run]:
    """Returns all runs, checked by `check`, in order: seeds change fastest, then the last axis.

    Raises:
      InputError: an axis without points, two axes that share a key, a key that changes nothing or that the base config
        does not have, a value of another type, two runs of one name, or see `check`.
    """
    axes = {name: axis_points(name, axis) for name, axis in sweep.axes.items()}
    shared = {"stages_dir": sweep.stages_dir} if sweep.stages_dir else {}
    _check_apart(axes, sweep)
    keys = [key for found in axes.values() for name, values in found if not name for key in values]
    short = short_keys(keys)
    named = [[(_name(axis, point, short), point[1]) for point in found] for axis, found in axes.items()]
    named.append([(f"seed={seed}", {"seed": seed}) for seed in sweep.seeds] or [("", {})])
    runs = []
    for combination in itertools.product(*named):
        name = ",".join(part for part, _ in combination if part) or "base"
        changes = {key: value for _, values in combination for key, value in values.items()}
        config = changed(load_config(sweep.config), {**dict(sweep.fixed), **shared, **changes})
        try:
            check(config)
        except InputError as error:
            raise InputError(f"run {name}: {error}") from error
        runs.append(Run(name, changes, config.to_dict()))
    _check_names(runs)
    return runs


def changed(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """Sets keys of a config, words joined by dots, and returns it; references follow. Raises as `make_runs`."""
    for key, value in changes.items():
        _set(config, key, value)
    return config


def _set(config: ConfigDict, key: str, value: Any) -> None:
    words, node = key.split("."), cast(Any, config)
    if words[0] == "stages" and len(words) > 2 and words[1] not in node.recipe and words[1] in node.stages:
        raise InputError(f"sweep key {key}: changes nothing, since the recipe has no stage {words[1]}")
    for word in words[:-1]:
        if word not in node or not isinstance(node[word], ConfigDict):
            raise InputError(_unknown(key, config))
        node = node[word]
    named = len(words) > 1 and words[-2] in NAMED
    if words[-1] not in node and not named:
        raise InputError(_unknown(key, config))
    try:
        if named:
            with node.unlocked():
                node[words[-1]] = value
        else:
            node[words[-1]] = value
    except (TypeError, ValueError) as error:
        raise InputError(f"sweep key {key}={value!r}: {error}") from None


def _unknown(key: str, config: ConfigDict) -> str:
    return f"unknown sweep key {key}: the base config does not have it{nearest(key, known_keys(config))[:200]}"


def _name(axis: str, point: Point, short: Mapping[str, str]) -> str:
    name, values = point
    if name:
        return f"{axis}={written(name)}"
    return ",".join(f"{written(short[key]).strip('-')}={written(value)}" for key, value in values.items())


def _check_apart(axes: Mapping[str, Iterable[Point]], sweep: SweepConfig) -> None:
    owners: dict[str, str] = {"seed": "seeds"} if sweep.seeds else {}
    for axis, found in axes.items():
        for key in {key for _, values in found for key in values}:
            if key in owners:
                raise InputError(f"axes.{axis} changes {key}, and so does {owners[key]}")
            owners[key] = f"axes.{axis}"


def _check_names(runs: Iterable[Run]) -> None:
    seen: set[str] = set()
    for run in runs:
        if run.name in seen:
            raise InputError(f"two runs are named {run.name}, and would share a workdir: values that differ must show")
        if len(run.name) > LONGEST:
            raise InputError(f"a run's name has {len(run.name)} characters, {LONGEST} are possible: {run.name[:60]}..")
        seen.add(run.name)
