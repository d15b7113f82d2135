"""The report of a run: one HTML page without other files, and the same figures as JSON."""

import dataclasses
import os
import statistics
from collections.abc import Mapping, Sequence

from scipy.stats import binomtest

from fac_jax.evaluation.reports.pages.page import Sound, Stage, render_page, write_with_figures
from fac_jax.evaluation.speech.transcripts import exact_match

TOLD = "question voice expected written heard written_right heard_right".split()  # of an answer, in the JSON


@dataclasses.dataclass(frozen=True)
class ScoredResponse:
    """One held-out question with its voice, the right reply, and the model's.

    `heard` is the text that the spoken reply sounds like (`Listener.hear`), None if it was not spoken. The sounds are
    for the page; None for no player.
    """

    question: str
    voice: str
    expected: str
    written: str
    heard: str | None = None
    question_sound: Sound | None = None
    reply_sound: Sound | None = None

    @property
    def written_right(self) -> bool:
        """Whether the text of the reply is the expected one."""
        return exact_match(self.expected, self.written)

    @property
    def heard_right(self) -> bool:
        """Whether the spoken reply sounds like the expected one."""
        return self.heard is not None and exact_match(self.expected, self.heard)


@dataclasses.dataclass(frozen=True)
class Condition:
    """How many of the questions that were asked under a condition got the right reply."""

    name: str
    right: int
    questions: int

    @property
    def share(self) -> float:
        """Returns the share of right replies."""
        return self.right / self.questions

    @property
    def interval(self) -> tuple[float, float]:
        """Returns the 95 % interval of the share (Wilson)."""
        found = binomtest(self.right, self.questions).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


@dataclasses.dataclass(frozen=True)
class Report:
    """The content of the report of a run.

    A metric whose name ends in `_accuracy` is a share, and shown in per cent. `parameters` is the number of trained
    ones, `seconds_total` the wall-clock time of the whole run, and `environment` names versions, machine, seed and
    command. `seeds` has the metrics by seed of runs with several; the page shows mean, minimum and maximum.
    `conditions` says how well questions were understood that were not recorded in silence.
    """

    title: str
    summary: str
    metrics: Mapping[str, float]
    parameters: int
    seconds_total: float
    stages: Sequence[Stage]
    answers: Sequence[ScoredResponse]
    environment: Mapping[str, str]
    seeds: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)
    conditions: Sequence[Condition] = ()

    def spread(self) -> dict[str, dict[str, float]]:
        """Returns mean, minimum and maximum over the seeds of every metric that all of them have."""
        runs = list(self.seeds.values())
        shared = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
        values = {name: [run[name] for run in runs] for name in shared}
        return {n: {"mean": statistics.fmean(v), "min": min(v), "max": max(v)} for n, v in values.items()}


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Writes the page to `path`, and the figures to the same path with the suffix `.json`; both appear complete.

    The JSON holds `metrics` at the top level, with `parameters`, `seconds_total`, `stages` (name to seconds), `spread`,
    `seeds`, `environment`, `conditions` (the share of right replies by name) and `answers` (without sounds).

    Raises:
      ValueError: a metric or a loss is not a finite number.
    """
    spread = report.spread()
    page = render_page("fac_jax.evaluation.reports", "report.html.jinja", report=report, spread=spread)
    figures = {
        **report.metrics,
        "parameters": report.parameters,
        "seconds_total": report.seconds_total,
        "stages": {stage.name: stage.seconds for stage in report.stages},
        "spread": spread,
        "seeds": {str(seed): dict(metrics) for seed, metrics in report.seeds.items()},
        "environment": dict(report.environment),
        "conditions": {one.name: one.share for one in report.conditions},
        "answers": [{key: getattr(answer, key) for key in TOLD} for answer in report.answers],
    }
    write_with_figures(path, page, figures)


def evenly_spaced(count: int, total: int) -> set[int]:
    """Returns `count` indices below `total` at equal distances, or all if there are fewer."""
    count = min(count, total)
    return {round(i * (total - 1) / max(count - 1, 1)) for i in range(count)}
