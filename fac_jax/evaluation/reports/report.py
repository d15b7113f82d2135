"""The report of a run: one HTML page without other files, and the same figures as JSON."""

import dataclasses
import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures
from fac_jax.evaluation.reports.stages import Stage
from fac_jax.evaluation.speech.transcripts import exact_match


@dataclasses.dataclass(frozen=True)
class ScoredResponse:
    """One held-out question with the model's response.

    Attributes:
      question: text of the question.
      voice: voice of the question.
      expected: text of the right reply.
      written: text of the reply.
      heard: text of the reply that the speech sounds like (`Listener.hear`); None if the reply was not spoken.
      question_sound: sound of the question for the page; None for no player.
      reply_sound: sound of the spoken reply, likewise.
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
class Report:
    """The content of the report of a run.

    Attributes:
      title: heading of the page.
      summary: a sentence or two on the training and the questions.
      metrics: name to value; a metric whose name ends in `_accuracy` is a share, and shown in per cent.
      parameters: number of trained parameters of the model.
      seconds_total: wall-clock seconds of the whole run.
      stages: stages in order.
      answers: held-out questions with their responses.
      environment: name to value: versions, machine, seed, command.
      seeds: metrics by seed, if there are runs with several seeds; the page shows mean, minimum and maximum.
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

    def spread(self) -> dict[str, dict[str, float]]:
        """Returns mean, minimum and maximum over the seeds of every metric that all of them have."""
        runs = list(self.seeds.values())
        if not runs:
            return {}
        shared = [name for name in runs[0] if all(name in run for run in runs)]
        values = {name: [run[name] for run in runs] for name in shared}
        return {n: {"mean": statistics.fmean(v), "min": min(v), "max": max(v)} for n, v in values.items()}


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Writes the page to `path`, and the figures to the same path with the suffix `.json`; both appear complete.

    The JSON holds `metrics` at the top level, with `parameters`, `seconds_total`, `stages` (name to seconds), `spread`,
    `seeds`, `environment` and `answers` (without sounds).

    Raises:
      ValueError: a metric or a loss is not a finite number.
    """
    write_with_figures(path, render(report), to_json(report))


def evenly_spaced(count: int, total: int) -> set[int]:
    """Returns `count` indices below `total` at equal distances, or all if there are fewer."""
    count = min(count, total)
    return {round(i * (total - 1) / max(count - 1, 1)) for i in range(count)}


def to_json(report: Report) -> dict[str, Any]:
    """Returns the figures of a report as plain values."""
    return {
        **report.metrics,
        "parameters": report.parameters,
        "seconds_total": report.seconds_total,
        "stages": {stage.name: stage.seconds for stage in report.stages},
        "spread": report.spread(),
        "seeds": {str(seed): dict(metrics) for seed, metrics in report.seeds.items()},
        "environment": dict(report.environment),
        "answers": [
            {
                "question": a.question,
                "voice": a.voice,
                "expected": a.expected,
                "written": a.written,
                "heard": a.heard,
                "written_right": a.written_right,
                "heard_right": a.heard_right,
            }
            for a in report.answers
        ],
    }


def render(report: Report) -> str:
    """Renders a report as one HTML page."""
    return render_page("fac_jax.evaluation.reports", "report.html.jinja", report=report, spread=report.spread())
