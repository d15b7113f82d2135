"""The report of a post-training recipe: the effect of every stage on speech and on the knowledge of the text model."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures
from fac_jax.evaluation.reports.stages import Stage

SHOWN = {"text_accuracy": "text-only knowledge", "spoken_accuracy": "heard, answered", "heard_accuracy": "spoken reply"}


@dataclasses.dataclass(frozen=True)
class Preference:
    """Shares of held-out pairs of one task of preference optimisation.

    Attributes:
      before: pairs whose better reply the model prefers more than the reference does; 0.5 if they are the same model.
      after: the same share after optimisation.
      likely_before: pairs whose better reply is the likelier one under the model, without the reference.
      likely_after: the same share after optimisation.
      right_before: the model's own replies that have the property of the better one.
      right_after: the same share after optimisation.
      exact_before: the model's own replies that have the words of the better one.
      exact_after: the same share after optimisation.
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
      task: name of the task.
      asked: text of the prompt, with its instruction.
      wanted: text of the better reply.
      question: sound of the prompt.
      before: text of the model's reply before optimisation.
      after: text of the model's reply after it.
      sound_before: sound of the reply before optimisation; None for a text reply.
      sound_after: sound of the reply after it; None for a text reply.
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
    """The content of the report of a recipe.

    Attributes:
      title: heading of the page.
      summary: a sentence or two.
      abilities: accuracies of the model after every stage, by stage; `SHOWN` names them.
      sweep: accuracies of merged models, by alpha.
      preference: results of preference optimisation by task.
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
    """Writes the page to `path`, and the figures to the same path with the suffix `.json`; both appear complete.

    The JSON holds `stages` (accuracies of every stage's model), `alpha_sweep`, `preference`, `seconds` of every part,
    `seconds_total` and `environment`.

    Raises:
      ValueError: a metric or a loss is not a finite number.
    """
    write_with_figures(path, render(report), to_json(report))


def to_json(report: PostTrainingReport) -> dict[str, Any]:
    """Returns the figures of a report as plain values."""
    return {
        "stages": {name: dict(values) for name, values in report.abilities.items()},
        "alpha_sweep": {f"{alpha:g}": dict(values) for alpha, values in report.sweep.items()},
        "preference": {name: dataclasses.asdict(value) for name, value in report.preference.items()},
        "seconds": {stage.name: stage.seconds for stage in report.stages},
        "seconds_total": report.seconds_total,
        "environment": dict(report.environment),
    }


def render(report: PostTrainingReport) -> str:
    """Renders a report as one HTML page."""
    alphas = list(report.sweep)
    trade = {label: (alphas, [values[name] for values in report.sweep.values()]) for name, label in SHOWN.items()}
    plot = {"name": "trade", "series": trade, "ylabel": "accuracy", "xlabel": "alpha"}
    return render_page("fac_jax.evaluation.reports", "post_training.html.jinja", report=report, shown=SHOWN, trade=plot)
