"""The page of a comparison: variants of a run, how they differ, what they gave and what they cost."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.figures import Series
from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures


def leaves_out_0(low: float | None, high: float | None) -> bool:
    """Whether an interval, if there is one, says which way a difference goes."""
    return low is not None and high is not None and (low > 0 or high < 0)


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure of a variant.

    Attributes:
      metric: its name.
      variant: whose.
      mean: over seeds.
      spread: standard deviation over seeds; None for one seed.
      low: of the 95 % interval; None if there is none.
      high: likewise.
      seeds: how many.
      items: questions of a seed; 1 for a figure that is no mean of questions.
      gain: mean difference to the baseline over the seeds of both; None for the baseline itself.
      gain_low: of its interval.
      gain_high: likewise.
    """

    metric: str
    variant: str
    mean: float
    spread: float | None
    low: float | None
    high: float | None
    seeds: int
    items: int
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None

    @property
    def sure(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return leaves_out_0(self.gain_low, self.gain_high)


@dataclasses.dataclass(frozen=True)
class Trade:
    """A metric against a cost.

    Attributes:
      metric: more is better.
      cost: less is better.
      points: (cost, metric) by variant.
      front: variants that no other beats in both, from the cheapest.
    """

    metric: str
    cost: str
    points: Mapping[str, tuple[float, float]]
    front: Sequence[str]


@dataclasses.dataclass(frozen=True)
class Heard:
    """One prompt and the replies of variants to it.

    Attributes:
      prompt: the user's words.
      asked: the prompt as it was heard.
      replies: text and sound by variant; no sound for a reply that was not spoken.
    """

    prompt: str
    asked: Sound
    replies: Mapping[str, tuple[str, Sound | None]]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison has to show.

    Attributes:
      title: heading of the page.
      summary: a sentence or two.
      baseline: variant that the others are held against.
      variants: number of runs by variant.
      differences: by key of the config, its value by variant; keys that are the same in all are left out.
      figures: of all variants.
      costs: mean over seeds by variant, by the cost's name; empty if the runs have no record.
      trades: for Pareto plots.
      curves: by stage, mean loss over steps by variant.
      heard: some prompts with players.
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
    heard: Sequence[Heard]


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Names whose (cost, metric) no other point beats in both, from the cheapest."""
    front: list[str] = []
    for name in sorted(points, key=lambda name: (points[name][0], -points[name][1])):
        if not front or points[name][1] > points[front[-1]][1]:
            front.append(name)
    return front


def write_comparison(path: str | os.PathLike[str], comparison: Comparison) -> None:
    """Writes the page to `path` and the figures beside it, with the suffix `.json`; both appear complete.

    Raises:
      ValueError: a figure that is not a finite number.
    """
    write_with_figures(path, render(comparison), to_json(comparison))


def to_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison's figures as plain values; without sounds and curves."""
    return {
        "baseline": comparison.baseline,
        "variants": dict(comparison.variants),
        "differences": {key: dict(values) for key, values in comparison.differences.items()},
        "figures": [dataclasses.asdict(figure) for figure in comparison.figures],
        "costs": {name: dict(values) for name, values in comparison.costs.items()},
        "pareto": [{"metric": t.metric, "cost": t.cost, "front": list(t.front)} for t in comparison.trades],
    }


def render(comparison: Comparison) -> str:
    """The comparison as one HTML page."""
    return render_page("fac_jax.evaluation.reports", "comparison.html.jinja", comparison=comparison)
