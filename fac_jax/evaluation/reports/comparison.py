"""The page of a comparison of variants of a run: their configs, figures, costs, curves and replies."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.figures import Series, styles
from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A figure of a variant, or the difference of two variants.

    Attributes:
      mean: mean over seeds.
      spread: standard deviation over seeds; None for one seed.
      low: lower end of the 95 % interval; None without an interval.
      high: upper end of the interval.
      seeds: number of seeds.
      items: questions of a seed; 1 for a figure that is not a mean over questions.
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
    """A figure of a variant.

    Attributes:
      metric: name of the metric.
      variant: name of the variant.
      value: the figure.
      gain: difference to the baseline over the seeds that both have; None for the baseline itself.
    """

    metric: str
    variant: str
    value: Estimate
    gain: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class Trade:
    """A metric against a cost.

    Attributes:
      metric: more is better.
      cost: less is better.
      points: (cost, metric) by variant.
      front: variants of the Pareto front, from the cheapest: no other variant is better in both.
    """

    metric: str
    cost: str
    points: Mapping[str, tuple[float, float]]
    front: Sequence[str]


@dataclasses.dataclass(frozen=True)
class PromptReplies:
    """One spoken prompt, and the replies of all variants to it.

    Attributes:
      prompt: text of the prompt.
      asked: sound of the prompt.
      replies: text and sound of the reply by variant; None instead of a sound for a text reply.
    """

    prompt: str
    asked: Sound
    replies: Mapping[str, tuple[str, Sound | None]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The content of the page of a comparison.

    Attributes:
      title: heading of the page.
      summary: a sentence or two.
      baseline: variant that the others are compared with.
      variants: number of runs by variant.
      differences: value by variant of every config key whose value differs between variants.
      figures: figures of all variants.
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

    Raises:
      ValueError: a figure is not a finite number.
    """
    write_with_figures(path, render(comparison), to_json(comparison))


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
    gain = (None, None, None) if figure.gain is None else (figure.gain.mean, figure.gain.low, figure.gain.high)
    differences = dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True))
    return {
        "metric": figure.metric,
        "variant": figure.variant,
        **dataclasses.asdict(figure.value),
        **differences,
    }


def render(comparison: Comparison) -> str:
    """Renders a comparison as one HTML page.

    A metric whose mean is the same in all runs takes no rows; the page lists the names of these metrics.
    """
    constant = constant_metrics(comparison.figures)
    return render_page(
        "fac_jax.evaluation.reports",
        "comparison.html.jinja",
        comparison=comparison,
        figures=[figure for figure in comparison.figures if figure.metric not in constant],
        constant=constant,
        styles=styles(comparison.variants),
    )


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
