"""Evaluations by benchmarks side by side: values with intervals, and differences on the rows that two models share."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.scoring.page import results
from fac_jax.evaluation.benchmarks.measure import Measure
from fac_jax.evaluation.reports.benchmarks import Result
from fac_jax.evaluation.reports.comparison import Comparison, Estimate, Figure
from fac_jax.types import InputError


def is_evaluation(folder: Path) -> bool:
    """Returns whether a folder holds the report of `experiments.evaluate --benchmark` or of `experiments.score`."""
    file = folder / "report.json"
    return file.exists() and "results" in json.loads(file.read_text("utf-8"))


def compare_evaluations(folders: Sequence[Path], under: str = "", baseline: str | None = None) -> Comparison:
    """Compares evaluations with the first one, or with the folder named `baseline`.

    Differences are on the rows that both models were scored on; their intervals come from drawing the same rows for
    both. Values that only one model has are left out.

    Args:
      folders: of the reports.
      under: start of the names of the benchmarks that are compared.
      baseline: name of a folder.

    Raises:
      InputError: two folders have one name, no folder has the name of the baseline, the models share no benchmark, or
        a benchmark was scored by different rules.
    """
    names = _names(folders)
    if baseline is not None and baseline not in names:
        raise InputError(f"--baseline={baseline}: no such evaluation; there are {', '.join(names)}")
    base = baseline or names[0]
    by_name = {
        name: {one.benchmark: one for one in results(folder)} for name, folder in zip(names, folders, strict=True)
    }
    shared = [
        one
        for one in by_name[base]
        if one.startswith(under) and all(one in found and found[one].value is not None for found in by_name.values())
    ]
    if not shared:
        raise InputError(f"{', '.join(map(str, folders))}: no benchmark that starts with {under!r} is scored in all")
    found: dict[str, dict[str, Result]] = {name: {one: all[one] for one in shared} for name, all in by_name.items()}
    for one in shared:
        rules = {name: results[one].rules for name, results in found.items()}
        if len(set(rules.values())) > 1:
            said = ", ".join(f"{name} by {rule}" for name, rule in rules.items())
            raise InputError(f"{one}: scored by different rules, {said}: score all by the same --rules")
    return Comparison(
        title="Comparison of evaluations",
        summary=f"{len(folders)} models, {len(shared)} benchmarks.",
        baseline=base,
        variants=dict.fromkeys(names, 1),
        differences=_differences(found, shared),
        figures=[_figure(one, name, found, base) for one in shared for name in names],
        costs={},
        trades=[],
        curves={},
        heard=[],
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """Returns the last part of each path; the whole path where that is not unique."""
    last = [folder.resolve().name for folder in folders]
    names = [str(folder) if last.count(name) > 1 else name for folder, name in zip(folders, last, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: given twice")
    return names


def _figure(one: str, name: str, found: dict[str, dict[str, Result]], base: str) -> Figure:
    mine, theirs = found[name][one], found[base][one]
    assert mine.value is not None
    gain = None if name == base else _gain(mine.measure, theirs.measure)
    unit = f"{mine.title} ({one}), {mine.unit}{', lower is better' if mine.lower_is_better else ''}"
    return Figure(unit, name, _estimate(mine.value, mine.interval, mine.scored), gain)


def _gain(mine: Measure, theirs: Measure) -> Estimate | None:
    difference = mine.difference(theirs)
    if difference is None:
        return None
    return _estimate(*difference, len(set(mine.ids) & set(theirs.ids)))


def _estimate(value: float, interval: tuple[float, float] | None, rows: int) -> Estimate:
    low, high = interval or (None, None)
    return Estimate(value, None, low, high, 1, rows)


def _differences(found: dict[str, dict[str, Result]], shared: Sequence[str]) -> dict[str, dict[str, str]]:
    """Returns what differs in how the answers were made and scored, by key and model."""
    said: dict[str, dict[str, str]] = {}
    for one in shared:
        for name, by_benchmark in found.items():
            result = by_benchmark[one]
            kept: dict[str, Any] = {
                **result.how,
                "rows": result.scored,
                "stand-in": ", ".join(result.stand_in) or "none",
            }
            for key, value in (kept | dict(result.models)).items():
                said.setdefault(f"{one}: {key}", {})[name] = str(value)
    whole = {key: {name: values.get(name, "absent") for name in found} for key, values in said.items()}
    return {key: values for key, values in whole.items() if len(set(values.values())) > 1}
