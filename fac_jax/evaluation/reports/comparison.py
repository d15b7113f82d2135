"""The page of a comparison of variants of a run: their configs, figures, costs, curves and replies."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.figures import Series, styles
from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Mean and standard deviation over seeds of a figure of a variant, or of the difference of two variants.

    `low` and `high` are the ends of the 95 % interval. What there is not is None: a spread of one seed, an interval.
    `items` is the number of questions of a seed, 1 for a figure that is not a mean over questions.
    """

    mean: float
    spread: float | None
    low: float | None
    high: float | None
    seeds: int
    items: int

    @property
    def significant(self) -> bool:
        """Returns whether the interval excludes 0, so that the sign of a difference is significant."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A metric of a variant, and its gain over the seeds that the baseline has too; None for the baseline itself."""

    metric: str
    variant: str
    value: Estimate
    gain: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class Trade:
    """A metric, of which more is better, against a cost, of which less is better.

    `points` has (cost, metric) by variant. `front` has the variants of the Pareto front, from the cheapest: no other
    variant is better in both.
    """

    metric: str
    cost: str
    points: Mapping[str, tuple[float, float]]
    front: Sequence[str]


@dataclasses.dataclass(frozen=True)
class PromptReplies:
    """A spoken prompt, and text and sound of the replies to it by variant; a text reply has None as its sound."""

    prompt: str
    asked: Sound
    replies: Mapping[str, tuple[str, Sound | None]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The content of the page of a comparison.

    Attributes:
      baseline: variant that the others are compared with.
      variants: number of runs by variant.
      differences: value by variant of every config key whose value differs between variants.
      costs: mean over seeds by variant, for every cost; empty if the runs have no record.
      trades: metrics against costs, for Pareto plots.
      curves: mean loss over steps by variant, for every stage.
      heard: some prompts and replies with players.
    """

    title: str
    summary: str
    baseline: str
    variants: Mapping[str, int]
    differences: Mapping[str, Mapping[str, str]]
    figures: Sequence[Figure]
    costs: Mapping[str, Mapping[str, float]]
    trades: Sequence[Trade]
    curves: Mapping[str, Mapping[str, Series]]
    heard: Sequence[PromptReplies]


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Returns the names of the Pareto front of points (cost, metric), from the cheapest."""
    front: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not front or points[name][1] > points[front[-1]][1]:
            front.append(name)
    return front


def write_comparison(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Writes the page to `path`, and the figures to the same path with the suffix `.json`; both appear complete.

    A metric whose mean is the same in all runs takes no rows; the page lists the names of these metrics.

    Raises:
      ValueError: a figure is not a finite number.
    """
    constant = constant_metrics(comparison.figures)
    page = render_page(
        "fac_jax.evaluation.reports",
        "comparison.html.jinja",
        comparison=comparison,
        figures=[figure for figure in comparison.figures if figure.metric not in constant],
        constant=constant,
        styles=styles(comparison.variants),
    )
    write_with_figures(path, page, to_json(comparison))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Returns the figures of a comparison as plain values, without sounds and curves."""
    return {
        "baseline": comparison.baseline,
        "variants": dict(comparison.variants),
        "differences": {key: dict(values) for key, values in comparison.differences.items()},
        "figures": [_plain(figure) for figure in comparison.figures],
        "costs": {name: dict(values) for name, values in comparison.costs.items()},
        "pareto": [{"metric": t.metric, "cost": t.cost, "front": list(t.front)} for t in comparison.trades],
    }


def _plain(figure: Figure) -> dict[str, Any]:
    gain = figure.gain
    return {
        "metric": figure.metric,
        "variant": figure.variant,
        **dataclasses.asdict(figure.value),
        "gain": gain and gain.mean,
        "gain_low": gain and gain.low,
        "gain_high": gain and gain.high,
    }


def constant_metrics(figures: Sequence[Figure]) -> list[str]:
    """Returns the metrics that have one value in all seeds of several variants."""
    by_metric: dict[str, list[Figure]] = {}
    for figure in figures:
        by_metric.setdefault(figure.metric, []).append(figure)
    return [
        metric
        for metric, group in by_metric.items()
        if len(group) > 1 and len({f.value.mean for f in group}) == 1 and not any(f.value.spread for f in group)
    ]
