"""The report of a post-training recipe: the effect of every stage on speech and on the knowledge of the text model."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.reports.pages.page import Sound, Stage, render_page, write_with_figures

SHOWN = {"text_accuracy": "text-only knowledge", "spoken_accuracy": "heard, answered", "heard_accuracy": "spoken reply"}


@dataclasses.dataclass(frozen=True)
class Preference:
    """Shares of held-out pairs of one task of preference optimisation, each before and after it.

    `before` and `after` count pairs whose better reply the model prefers more than the reference does, 0.5 if they are
    the same model; `likely_..` those whose better reply is the likelier one under the model, without the reference.
    `right_..` counts the model's own replies that have the property of the better one, `exact_..` those with its words.
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
    """A held-out prompt of a preference task, and the texts of the replies before and after optimisation.

    `asked` is the text of the prompt with its instruction, `question` its sound, and `wanted` the text of the better
    reply. A text reply has None as its sound.
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
    alphas = list(report.sweep)
    trade = {label: (alphas, [values[name] for values in report.sweep.values()]) for name, label in SHOWN.items()}
    plot = {"name": "trade", "series": trade, "ylabel": "accuracy", "xlabel": "alpha"}
    values = {"report": report, "shown": SHOWN, "trade": plot}
    page = render_page("fac_jax.evaluation.reports", "post_training.html.jinja", **values)
    write_with_figures(path, page, to_json(report))


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
