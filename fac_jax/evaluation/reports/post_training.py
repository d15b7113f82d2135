"""The report of a post-training recipe: what every stage did to speech and to what the text model knew."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures
from fac_jax.evaluation.reports.stages import Stage

SHOWN = {"text_accuracy": "text-only knowledge", "spoken_accuracy": "heard, answered", "heard_accuracy": "spoken reply"}


@dataclasses.dataclass(frozen=True)
class Preference:
    """One task of preference optimisation on held-out pairs; all are shares.

    Attributes:
      before: pairs whose better reply is preferred more than the reference does; 0.5 where model and reference are one.
      after: the same after optimisation.
      likely_before: pairs whose better reply is the likelier one, whatever the reference says.
      likely_after: likewise.
      right_before: the model's own replies that do what the better one does.
      right_after: likewise.
      exact_before: the model's own replies that say what the better one says, word for word.
      exact_after: likewise.
    """

    before: float
    after: float
    likely_before: float
    likely_after: float
    right_before: float
    right_after: float
    exact_before: float
    exact_after: float


@dataclasses.dataclass(frozen=True)
class Exchange:
    """A held-out prompt of a preference task, and the replies before and after optimisation.

    Attributes:
      task: which task.
      asked: the user's words and what was asked beside them.
      wanted: the better reply.
      question: as it was asked.
      before: the reply's text.
      after: the reply's text.
      sound_before: None for a text reply.
      sound_after: None for a text reply.
    """

    task: str
    asked: str
    wanted: str
    question: Sound
    before: str
    after: str
    sound_before: Sound | None = None
    sound_after: Sound | None = None


@dataclasses.dataclass(frozen=True)
class PostTrainingReport:
    """What a recipe has to show.

    Attributes:
      title: heading of the page.
      summary: a sentence or two.
      abilities: of every stage's model, by stage; `SHOWN` names the accuracies.
      sweep: the same of merges, by alpha.
      preference: by task.
      exchanges: some held-out prompts with players.
      stages: times and curves, in order.
      seconds_total: wall-clock seconds of the whole run.
      environment: name to value: versions, machine, seed, command.
    """

    title: str
    summary: str
    abilities: Mapping[str, Mapping[str, float]]
    sweep: Mapping[float, Mapping[str, float]]
    preference: Mapping[str, Preference]
    exchanges: Sequence[Exchange]
    stages: Sequence[Stage]
    seconds_total: float
    environment: Mapping[str, str]


def write_post_training(path: str | os.PathLike[str], report: PostTrainingReport) -> None:
    """Writes the page to `path` and the figures beside it, with the suffix `.json`; both appear complete.

    The JSON holds `stages` (accuracies of every stage's model), `alpha_sweep`, `preference`, `seconds` of every part,
    `seconds_total` and `environment`.

    Raises:
      ValueError: a metric or a loss that is not a finite number.
    """
    write_with_figures(path, render(report), to_json(report))


def to_json(report: PostTrainingReport) -> dict[str, Any]:
    """The report's figures as plain values."""
    return {
        "stages": {name: dict(values) for name, values in report.abilities.items()},
        "alpha_sweep": {f"{alpha:g}": dict(values) for alpha, values in report.sweep.items()},
        "preference": {name: dataclasses.asdict(value) for name, value in report.preference.items()},
        "seconds": {stage.name: stage.seconds for stage in report.stages},
        "seconds_total": report.seconds_total,
        "environment": dict(report.environment),
    }


def render(report: PostTrainingReport) -> str:
    """The report as one HTML page."""
    alphas = list(report.sweep)
    trade = {label: (alphas, [values[name] for values in report.sweep.values()]) for name, label in SHOWN.items()}
    plot = {"name": "trade", "series": trade, "ylabel": "accuracy", "xlabel": "alpha"}
    return render_page("fac_jax.evaluation.reports", "post_training.html.jinja", report=report, shown=SHOWN, trade=plot)
