"""The page of an evaluation of calls: scenarios beside baselines, eagerness against patience, and some calls."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.calls.base import Scenario
from fac_jax.evaluation.calls.scenarios import DEFINITIONS
from fac_jax.evaluation.calls.scores import Scores
from fac_jax.evaluation.reports.call import CallShown, both_channels, call_svg
from fac_jax.evaluation.reports.pages.page import render_page, write_with_figures

Scenarios = Mapping[Scenario, Scores]
Skills = Mapping[str, Mapping[str, float]]  # by set of rows, and figure
QUIET: Sequence[Scenario] = ("silence", "noise_only")


@dataclasses.dataclass(frozen=True)
class Point:
    """One setting of eagerness.

    Attributes:
      label: names it in the figure.
      mistakes: share of calls in which it came of eagerness that the assistant spoke, or fell silent.
      latency_median: seconds; None if half of the calls have no reaction.
      latency_p90: seconds; None if a tenth of the calls have no reaction.
    """

    label: str
    mistakes: float
    latency_median: float | None
    latency_p90: float | None


@dataclasses.dataclass(frozen=True)
class Curve:
    """Mistakes against latency, as one kind of eagerness grows.

    Attributes:
      title: of the figure.
      mistakes: what is a mistake.
      latency: of what.
      model: settings of the full-duplex model, from the least eager to the most.
      baselines: the same of the baselines.
    """

    title: str
    mistakes: str
    latency: str
    model: Sequence[Point]
    baselines: Sequence[Point]

    def figure(self) -> dict[str, Any] | None:
        """Returns the arguments of the page's filter `trade`; None if no setting has a median."""
        points = [one for one in (*self.model, *self.baselines) if one.latency_median is not None]
        if not points:
            return None
        return {
            "name": self.title,
            "points": {one.label: (one.latency_median, one.mistakes) for one in points},
            "front": [one.label for one in self.model if one.latency_median is not None],
            "xlabel": f"median latency of {self.latency}, s",
            "ylabel": self.mistakes,
        }


@dataclasses.dataclass(frozen=True, eq=False)
class ShownCall:
    """A call to look at and to listen to, and the verdict on it."""

    call: CallShown
    verdict: str


@dataclasses.dataclass(frozen=True)
class CallsReport:
    """The content of the page.

    Attributes:
      title: of the page.
      summary: a sentence below it.
      scenarios: scores of the model.
      baselines: scores of the baselines by name; empty without a half-duplex model.
      curves: by name.
      examples: some calls of every scenario.
      how: what the calls were made with.
      skills: what is answered in turns: of "full duplex" and "half duplex", by set and figure; empty if not asked.
    """

    title: str
    summary: str
    scenarios: Scenarios
    baselines: Mapping[str, Scenarios]
    curves: Mapping[str, Curve]
    examples: Mapping[Scenario, Sequence[ShownCall]]
    how: Mapping[str, Any]
    skills: Mapping[str, Skills] = dataclasses.field(default_factory=dict)


def write_calls_report(path: str | os.PathLike[str], report: CallsReport) -> None:
    """Writes the page to `path`, and its figures to the same path with the suffix `.json`; both appear complete."""
    page = render_page(
        "fac_jax.evaluation.reports",
        "calls.html.jinja",
        report=report,
        definitions=DEFINITIONS,
        quiet=QUIET,
        sound=both_channels,
        line=call_svg,
    )
    write_with_figures(path, page, to_json(report))


def to_json(report: CallsReport) -> dict[str, Any]:
    """Returns the figures of a report."""
    return {
        "title": report.title,
        "how": dict(report.how),
        "scenarios": _scenarios(report.scenarios),
        "baselines": {name: {"scenarios": _scenarios(found)} for name, found in report.baselines.items()},
        "curves": {
            name: {
                "mistakes": curve.mistakes,
                "latency": curve.latency,
                "model": [dataclasses.asdict(point) for point in curve.model],
                "baselines": [dataclasses.asdict(point) for point in curve.baselines],
            }
            for name, curve in report.curves.items()
        },
        "skills": {name: {one: dict(found) for one, found in sets.items()} for name, sets in report.skills.items()},
        "definitions": {name: DEFINITIONS[name] for name in report.scenarios},
    }


def _scenarios(found: Scenarios) -> dict[str, Any]:
    return {name: scores.to_json() for name, scores in found.items()}
