"""Variants, runs whose configs are the same except for the seed, and confidence intervals of their means.

Intervals are percentiles of `scipy.stats.bootstrap`. Seeds are drawn with replacement, and of a figure that is a mean
over questions those of every drawn seed too. Two variants are compared pair by pair: the same seed and question. Three
seeds have only ten different draws, so their intervals are rather too narrow.
"""

import dataclasses
import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict
from scipy.stats import bootstrap

from experiments.run.lock import FREE
from experiments.run.record import numbers
from experiments.sweeps.axes import short_keys
from fac_jax.evaluation.reports.comparison import Estimate
from fac_jax.training.metrics import read_curve
from fac_jax.types import InputError

SEED = "seed"
ITEMS, SOUNDS = "items.json", "sounds.json"
LEVEL = 0.95
RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Compared:
    """A run to compare.

    Attributes:
      path: workdir.
      seed: seed of its config.
      config: JSON values of its config by key, without seeds.
      figures: results by name.
      items: values of the questions by id, for every figure that is a mean over questions.
      cost: "flops", "seconds", "tokens", "audio_seconds", "peak_memory_gib"; empty for a run without a record.
      label: its name in a sweep, without the seed; None outside sweeps.
    """

    path: Path
    seed: int
    config: Mapping[str, str]
    figures: Mapping[str, float]
    items: Mapping[str, Mapping[str, float]]
    cost: Mapping[str, float]
    label: str | None

    def curves(self) -> dict[str, list[dict[str, float]]]:
        """Reads the lines of `metrics.jsonl` by stage."""
        return {file.parent.name: read_curve(file.parent) for file in sorted(self.path.glob("*/metrics.jsonl"))}

    def sounds(self) -> list[dict[str, Any]]:
        """Reads prompts and replies with names of sound files in `path` (`experiments.toy.reporting.write_sounds`)."""
        return _json(self.path / SOUNDS, [])


@dataclasses.dataclass(frozen=True)
class Variant:
    """Runs with the same config except for the seed, sorted by seed."""

    name: str
    runs: tuple[Compared, ...]

    @property
    def config(self) -> Mapping[str, str]:
        """Returns the config that all runs share, without seeds."""
        return self.runs[0].config


def read_figures(run: Path) -> tuple[dict[str, float], set[str]]:
    """Reads the figures of a run's report, or of its record if it has no report, and the names of those that are null.

    A figure is null where there is none, as the latency of what never comes.

    Raises:
      InputError: the run has neither.
    """
    record, report = run / "record.json", run / "report.json"
    try:
        if not report.exists() and record.exists():
            return numbers(json.loads(record.read_text())["metrics"]), set()
        found = json.loads(report.read_text())
        return numbers(found), {name for name, x in flatten_dict(found, sep=".").items() if x is None}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{report} cannot be read ({error}): is the run finished?") from None


def same_figures(runs: Sequence[Path], under: str) -> list[dict[str, float]]:
    """Reads the figures of every run whose names start with `under`; those that are null in a run are left out.

    Raises:
      InputError: a run has no figures, or none of that name, or not those of the first run.
    """
    found: list[dict[str, float]] = []
    no_numbers: set[str] = set()
    for run in runs:
        figures, null = read_figures(run)
        no_numbers |= null
        found.append({name: value for name, value in figures.items() if name.startswith(under)})
        if not found[-1]:
            raise InputError(f"{run}: no figure starts with {under!r}; known are {', '.join(sorted(figures))}")
        strange = sorted((found[0].keys() ^ found[-1].keys()) - no_numbers)
        if strange:
            raise InputError(f"{strange[0]} is a figure of only one of {runs[0]} and {run}: compare runs of one kind")
    return [{name: value for name, value in each.items() if name not in no_numbers} for each in found]


def find_runs(words: Sequence[Path]) -> list[Path]:
    """Returns the workdirs of runs; the folder of a sweep stands for its finished runs.

    Raises:
      InputError: a sweep has no finished run.
    """
    found: list[Path] = []
    for folder in words:
        if not (folder / "sweep.json").exists():
            found.append(folder)
            continue
        done = [
            file.parent for file in sorted(folder.glob("*/record.json")) if json.loads(file.read_text())["finished"]
        ]
        if not done:
            raise InputError(f"{folder}: no run of this sweep is finished")
        found += done
    return found


def read_runs(paths: Sequence[Path], under: str = "") -> list[Compared]:
    """Reads runs, with the figures whose names start with `under`; raises as `same_figures`."""
    return [_read(path, found) for path, found in zip(paths, same_figures(paths, under), strict=True)]


def _read(path: Path, figures: Mapping[str, float]) -> Compared:
    record = _json(path / "record.json", {})
    config = record.get("config") or _json(path / "config.json", {})
    cost = dict(record.get("cost", {}))
    cost |= {name: record[name] for name in ("seconds", "peak_memory_gib") if name in record}
    name = _json(path / "asked.json", {}).get("name")
    items = {key: value for key, value in _json(path / ITEMS, {}).items() if key in figures}
    label = None if name is None else re.sub(r"(^|,)seed=[^,]*$", "", name)
    return Compared(path, int(config.get(SEED, 0)), _leaves(config), figures, items, cost, label)


def _json(file: Path, absent: Any) -> Any:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else absent


def _leaves(tree: dict[str, Any]) -> dict[str, str]:
    """Returns the JSON values of a config by key, without seeds and keys that say only where and how a run executes."""
    kept = {path: value for path, value in flatten_dict(tree).items() if path[-1] != SEED and path[0] not in FREE}
    return {".".join(path): json.dumps(value) for path, value in kept.items()}


def variants(runs: Sequence[Compared]) -> list[Variant]:
    """Groups runs by their configs, in order.

    Raises:
      InputError: two runs have the same config and seed.
    """
    groups: dict[str, list[Compared]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.config, run.label]), []).append(run)
    for group in groups.values():
        seeds = [run.seed for run in group]
        twice = next((seed for seed in seeds if seeds.count(seed) > 1), None)
        if twice is not None:
            paths = ", ".join(str(run.path) for run in group if run.seed == twice)
            raise InputError(f"{paths}: one config and one seed, {twice}; leave one out")
    configs = [group[0].config for group in groups.values()]
    keys = differing(configs)
    short = short_keys(keys)
    found = []
    for group in groups.values():
        name = group[0].label or ", ".join(f"{short[key]}={group[0].config.get(key, 'absent')}" for key in keys)
        found.append(Variant(name or "all", tuple(sorted(group, key=lambda run: run.seed))))
    return found


def differing(configs: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the keys whose values differ between configs."""
    keys = dict.fromkeys(key for config in configs for key in config)
    return [key for key in keys if len({config.get(key) for config in configs}) > 1]


def estimate(variant: Variant, figure: str) -> Estimate:
    """Estimates a figure of a variant."""
    return _estimate([_values(run, figure, None) for run in variant.runs])


def difference(variant: Variant, baseline: Variant, figure: str) -> Estimate | None:
    """Estimates a figure or cost of a variant minus that of another, over their common seeds; None without any."""
    others = {run.seed: run for run in baseline.runs}
    pairs = [(run, others[run.seed]) for run in variant.runs if run.seed in others]
    if not pairs:
        return None
    values = []
    for one, other in pairs:
        theirs = other.items.get(figure, {})
        shared = [item for item in one.items.get(figure, {}) if item in theirs]
        values.append(_values(one, figure, shared) - _values(other, figure, shared))
    return _estimate(values)


def _values(run: Compared, figure: str, chosen: Sequence[str] | None) -> np.ndarray:
    """Returns the values of the chosen questions (None: all) `[N]`; without any, the figure itself `[1]`."""
    items = run.items.get(figure, {})
    names = list(items) if chosen is None else chosen
    return np.array([items[name] for name in names] if names else [{**run.cost, **run.figures}[figure]])


def _estimate(by_seed: Sequence[np.ndarray]) -> Estimate:
    means = [float(values.mean()) for values in by_seed]
    low, high = _interval(by_seed)
    spread = statistics.stdev(means) if len(means) > 1 else None
    return Estimate(statistics.fmean(means), spread, low, high, len(means), min(map(len, by_seed)))


def _interval(by_seed: Sequence[np.ndarray]) -> tuple[float, float] | tuple[None, None]:
    rng = np.random.default_rng(0)  # a comparison gives the same intervals every time
    ways = {"confidence_level": LEVEL, "n_resamples": RESAMPLES, "method": "percentile", "vectorized": True, "rng": rng}

    def means(drawn: np.ndarray, axis: int) -> np.ndarray:
        """Computes the means of drawn seeds `[.., S]`, each over newly drawn questions."""
        found = np.empty(drawn.shape)
        for seed, values in enumerate(by_seed):
            here = drawn == seed
            found[here] = values[rng.integers(len(values), size=(int(here.sum()), len(values)))].mean(axis=1)
        return found.mean(axis=axis)

    if all(np.ptp(np.concatenate([values, by_seed[0]])) == 0 for values in by_seed):
        value = float(by_seed[0][0])
        return (value, value) if sum(map(len, by_seed)) > 1 else (None, None)
    if len(by_seed) > 1:
        found = bootstrap((np.arange(len(by_seed)),), means, **ways).confidence_interval
    elif len(by_seed[0]) > 1:
        found = bootstrap((by_seed[0],), np.mean, **ways).confidence_interval
    else:
        return None, None
    return float(found.low), float(found.high)
