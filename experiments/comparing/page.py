"""The contents of the page and the tables of a comparison of runs."""

import csv
import io
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import soundfile

from experiments.comparing.variants import Compared, Variant, difference, differing, estimate, same_figures
from fac_jax.evaluation.reports.comparison import (
    Comparison,
    Figure,
    PromptReplies,
    Trade,
    constant_metrics,
    pareto_front,
    to_json,
)
from fac_jax.evaluation.reports.pages.figures import Series
from fac_jax.evaluation.reports.pages.page import Sound
from fac_jax.types import InputError

PROMPTS = 4  # prompts with players on the page
TRADES = 4  # metrics that are plotted against cost
POINTS = 200  # points of a learning curve
TIME = re.compile(r"seconds.*|stages\.[^.]+")  # figures of a report that are seconds
COSTS = {
    "FLOPs": ("flops", 1.0),
    "minutes": ("seconds", 60.0),
    "tokens": ("tokens", 1.0),
    "audio hours": ("audio_seconds", 3600.0),
    "peak GiB": ("peak_memory_gib", 1.0),
}


def make_comparison(variants: Sequence[Variant], baseline: str | None = None) -> Comparison:
    """Compares variants with the first one, or with the one named `baseline`.

    Raises:
      InputError: no variant has that name.
    """
    names = [variant.name for variant in variants]
    if baseline is not None and baseline not in names:
        raise InputError(f"--baseline={baseline}: no such variant; there are {'; '.join(names)}")
    base = variants[names.index(baseline) if baseline else 0]
    figures = list(_figures(variants, base))
    costs = _costs(variants)
    runs = sum(len(variant.runs) for variant in variants)
    keys = differing([variant.config for variant in variants])
    return Comparison(
        title="Comparison of runs",
        summary=f"{runs} runs, {len(variants)} variants.",
        baseline=base.name,
        variants={variant.name: len(variant.runs) for variant in variants},
        differences={key: {v.name: v.config.get(key, "absent") for v in variants} for key in keys},
        figures=figures,
        costs=costs,
        trades=list(_trades(figures, costs)) if len(variants) > 1 else [],
        curves=_curves(variants),
        heard=_heard(variants),
    )


def _figures(variants: Sequence[Variant], base: Variant) -> list[Figure]:
    found = []
    for metric in base.runs[0].figures:
        if TIME.fullmatch(metric):
            continue
        for variant in variants:
            gain = None if variant is base else difference(variant, base, metric)
            found.append(Figure(metric, variant.name, estimate(variant, metric), gain))
    return found


def _costs(variants: Sequence[Variant]) -> dict[str, dict[str, float]]:
    """Computes the means over seeds of the costs that all runs have recorded."""
    found: dict[str, dict[str, float]] = {}
    for name, (key, unit) in COSTS.items():
        if all(key in run.cost for variant in variants for run in variant.runs):
            found[name] = {v.name: statistics.fmean(run.cost[key] for run in v.runs) / unit for v in variants}
    return found


def _trades(figures: Sequence[Figure], costs: Mapping[str, Mapping[str, float]]) -> list[Trade]:
    metrics = list(dict.fromkeys(f.metric for f in figures if f.metric.endswith("accuracy")))[:TRADES]
    found = []
    for metric in metrics if "FLOPs" in costs else []:
        points = {f.variant: (costs["FLOPs"][f.variant], f.value.mean) for f in figures if f.metric == metric}
        found.append(Trade(metric, "FLOPs", points, pareto_front(points)))
    return found


def _curves(variants: Sequence[Variant]) -> dict[str, dict[str, Series]]:
    """Computes the mean loss over the seeds of a variant, by stage, at the steps that all its seeds logged."""
    found: dict[str, dict[str, Series]] = {}
    for variant in variants:
        runs = [run.curves() for run in variant.runs]
        for stage in runs[0]:
            by_run = [{line["step"]: line["loss"] for line in run.get(stage, []) if "loss" in line} for run in runs]
            steps = sorted(set.intersection(*map(set, by_run)))
            steps = steps[:: max(1, len(steps) // POINTS)]
            if steps:
                values = [statistics.fmean(losses[step] for losses in by_run) for step in steps]
                found.setdefault(stage, {})[variant.name] = (steps, values)
    return found


def _heard(variants: Sequence[Variant]) -> list[PromptReplies]:
    """Returns the first prompts that the first seeds of all variants were asked, with the replies."""
    runs = {variant.name: variant.runs[0] for variant in variants}
    said = {name: {(one["prompt"], one["voice"]): one for one in run.sounds()} for name, run in runs.items()}
    first = next(iter(said.values()))
    shared = [prompt for prompt in first if all(prompt in replies for replies in said.values())]
    return [
        PromptReplies(
            prompt=prompt[0],
            asked=_sound(variants[0].runs[0], first[prompt]["asked"]),
            replies={
                name: (one["written"], _sound(runs[name], one["spoken"]) if one["spoken"] is not None else None)
                for name, one in ((name, replies[prompt]) for name, replies in said.items())
            },
        )
        for prompt in shared[:PROMPTS]
    ]


def _sound(run: Compared, file: str) -> Sound:
    wave, rate = soundfile.read(Path(run.path) / file, dtype="float32")
    return Sound(wave, rate)


def rows(comparison: Comparison) -> list[list[str]]:
    """Returns the table with a row for every figure that is not the same in all runs, after the heading."""
    found = [["", *(f"{name} ({runs})" for name, runs in comparison.variants.items())]]
    by_metric: dict[str, list[str]] = {}
    constant = constant_metrics(comparison.figures)
    for figure in (one for one in comparison.figures if one.metric not in constant):
        by_metric.setdefault(figure.metric, [figure.metric]).append(_cell(figure))
    found += by_metric.values()
    for cost, values in comparison.costs.items():
        found.append([cost, *(f"{values[name]:.4g}" for name in comparison.variants)])
    return found


def _cell(figure: Figure) -> str:
    """Formats a mean with its interval, and a star if it differs significantly from the baseline."""
    value = figure.value
    interval = "" if value.low is None or value.high is None else f" [{_number(value.low)}, {_number(value.high)}]"
    star = " *" if figure.gain is not None and figure.gain.significant else ""
    return f"{_number(value.mean)}{interval}{star}"


def _number(value: float) -> str:
    return f"{value:.3f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"


def long_rows(comparison: Comparison) -> list[list[str]]:
    """Returns the table with a row for every figure of every variant, in full precision, for programs."""
    figures = to_json(comparison)["figures"]
    values = [["" if value is None else str(value) for value in figure.values()] for figure in figures]
    return [[*figures[0]], *values] if figures else []


def compare(runs: Sequence[Path], under: str = "") -> list[list[str]]:
    """Returns the table of the figures of runs: the heading, then a row for every figure.

    Raises:
      InputError: a run has no report, its figures differ from the first run's, or none starts with `under`.
    """
    found = same_figures(runs, under)
    rows = [["", *(run.name for run in runs), "mean", "standard deviation"]]
    for name in found[0]:
        values = [figure[name] for figure in found]
        spread = [statistics.stdev(values)] if len(values) > 1 else []
        shown = [_number(value) for value in (*values, statistics.mean(values), *spread)]
        rows.append([name, *shown, *[""] * (len(rows[0]) - 1 - len(shown))])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as a Markdown table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def comma_separated(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def between(page: str, begin: str, end: str, text: str) -> str:
    """Replaces the text between two marks of a page.

    Raises:
      InputError: the page lacks a mark.
    """
    if begin not in page or end not in page:
        raise InputError(f"the page has no place for the table: lines {begin} and {end}")
    return f"{page.split(begin)[0]}{begin}\n{text}\n{end}{page.split(end)[1]}"
