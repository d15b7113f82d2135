"""The report of a run: one HTML page that needs nothing beside it, and the same figures as JSON."""

import dataclasses
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from fac_jax.evaluation import figures
from fac_jax.evaluation.text import exact_match


@dataclasses.dataclass(frozen=True)
class Sound:
    """A float wave `[samples]` in [-1, 1] and its rate in Hz."""

    wave: np.ndarray
    rate: int = 16_000


@dataclasses.dataclass(frozen=True)
class Answer:
    """One held-out question and what came back.

    Attributes:
      question: what was asked.
      voice: who asked it.
      expected: the right reply.
      written: the reply's text.
      heard: what the reply sounds like (`Listener.hear`); None if the reply was not spoken.
      question_sound: the question as it was asked, to be listened to on the page; None leaves it out.
      reply_sound: the spoken reply, likewise.
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
        """The written reply is the expected one."""
        return exact_match(self.expected, self.written)

    @property
    def heard_right(self) -> bool:
        """The spoken reply sounds like the expected one."""
        return self.heard is not None and exact_match(self.expected, self.heard)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the run.

    Attributes:
      name: "speech to text", ..
      seconds: wall-clock time, compilation included.
      curves: name to (steps, values), e.g. {"text loss": .., "speech loss": ..}; empty for a stage without training.
    """

    name: str
    seconds: float
    curves: Mapping[str, figures.Series] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Report:
    """What a run has to show.

    Attributes:
      title: heading of the page.
      summary: a sentence or two on what was trained and asked.
      metrics: name to value; a name that ends in `_accuracy` is a share and shown in per cent.
      parameters: trained parameters of the model.
      seconds_total: wall-clock seconds of the whole run.
      stages: in order.
      answers: held-out questions.
      environment: name to value: versions, machine, seed, command.
      seeds: seed to metrics of that run, where several were made; the page shows mean, least and most.
    """

    title: str
    summary: str
    metrics: Mapping[str, float]
    parameters: int
    seconds_total: float
    stages: Sequence[Stage]
    answers: Sequence[Answer]
    environment: Mapping[str, str]
    seeds: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    def spread(self) -> dict[str, dict[str, float]]:
        """Mean, least and most over the seeds of every metric that all of them have."""
        runs = list(self.seeds.values())
        if not runs:
            return {}
        shared = [name for name in runs[0] if all(name in run for run in runs)]
        values = {name: [run[name] for run in runs] for name in shared}
        return {n: {"mean": statistics.fmean(v), "min": min(v), "max": max(v)} for n, v in values.items()}


def write_report(path: str | os.PathLike[str], report: Report) -> None:
    """Writes the page to `path` and the figures beside it, with the suffix `.json`; both appear complete.

    The JSON holds `metrics` at the top level, with `parameters`, `seconds_total`, `stages` (name to seconds), `spread`,
    `seeds`, `environment` and `answers` (without sounds).

    Raises:
      ValueError: a metric or a loss that is not a finite number.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path.with_suffix(".json"), json.dumps(to_json(report), indent=2, allow_nan=False) + "\n")
    _write(path, render(report))


def to_json(report: Report) -> dict[str, Any]:
    """The report's figures as plain values."""
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
    """The report as one HTML page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fac_jax.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "curves": lambda stage: Markup(figures.curves_svg(stage.name, stage.curves, "loss")),
        "spectrogram": lambda sound: figures.spectrogram_png(sound.wave, sound.rate),
        "flac": lambda sound: figures.audio_flac(sound.wave, sound.rate),
        "duration": duration,
        "label": label,
    }
    return environment.get_template("report.html.jinja").render(report=report, spread=report.spread(), figure=figure)


def figure(name: str, value: float) -> str:
    """A metric for the eye: accuracies in per cent, other values with three digits."""
    return f"{100 * value:.1f} %" if name.endswith("_accuracy") else f"{value:,.3g}"


def label(name: str) -> str:
    """A metric's name for the eye: "s2s_heard_accuracy" is "S2S heard"."""
    words = name.removesuffix("_accuracy").split("_")
    return " ".join(w.upper() if w in {"s2s", "s2t", "t2s", "t2t", "qa", "wer"} else w for w in words)


def duration(seconds: float) -> str:
    """Seconds for the eye: "41.2 s", "12 min 05 s"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
