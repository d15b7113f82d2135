"""The report of a full-duplex model in the scenarios: what is run for it, and its page."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from experiments.calls.detectors import DETECTORS
from experiments.calls.evaluation import Evaluation, evaluate, sweeps
from experiments.calls.predictions import check_made_with
from experiments.calls.scripted import Scripted, digest
from experiments.calls.shown import examples
from fac_jax.api import Model
from fac_jax.checkpoint.store import params_digest
from fac_jax.evaluation.reports.calls import CallsReport, Skills, write_calls_report

PREDICTIONS: Final = "predictions"  # folder beside the page
EAGERNESS: Final = (-2.0, -1.0, 1.0, 2.0)  # nats


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
      places: calls that run side by side.
      start: settings of eagerness to start, in nats, at which calls are run again.
      stop: the same of eagerness to stop.
      rows: calls of each scenario that are run again.
      detector: of the baselines, a name of `DETECTORS`.
    """

    places: int = 50
    start: Sequence[float] = EAGERNESS
    stop: Sequence[float] = EAGERNESS
    rows: int = 50
    detector: str = "energy"


def write_report(
    checkpoint: str,
    model: Model,
    half_duplex: Model | None,
    calls: Path,
    scripted: Sequence[Scripted],
    out: Path,
    settings: Settings,
    skills: Mapping[str, Skills] | None = None,
) -> Evaluation:
    """Runs the calls, and writes `report.html`, `report.json` and the predictions.

    Args:
      checkpoint: names the model.
      model: full-duplex.
      half_duplex: model of the baselines; None for no baselines.
      calls: folder of the scenarios.
      scripted: calls of them.
      out: gets the files; what an earlier run has made is taken from there.
      settings: what is run.
      skills: see `CallsReport`; None if that was not asked.

    Raises:
      InputError: `out` has predictions of something else, or a user's channel cannot be read.
    """
    made_with = {"checkpoint": params_digest(model.params), "calls": digest(calls)}
    if half_duplex is not None:
        made_with |= {"half_duplex": params_digest(half_duplex.params), "vad": settings.detector}
    check_made_with(out / PREDICTIONS, made_with)
    places = min(settings.places, len(scripted))
    found = evaluate(
        model,
        half_duplex,
        DETECTORS[settings.detector],
        scripted,
        sweeps(model, settings.start, settings.stop),
        settings.rows,
        places,
        out / PREDICTIONS,
    )
    report = CallsReport(
        title="Calls",
        summary=f"{checkpoint} in {len(scripted)} calls of {len(found.scenarios)} scenarios.",
        scenarios=found.scenarios,
        baselines=found.baselines,
        curves=found.curves,
        examples=examples(model, scripted, found.own),
        how={name: str(value) for name, value in made_with.items()} | {"calls side by side": places},
        skills=skills or {},
    )
    write_calls_report(out / "report.html", report)
    for name, one in found.scenarios.items():
        latency = "" if one.latency_median is None else f", median {one.latency_median:.2f} s"
        answer = "" if one.answer is None else f", right answers {100 * one.answer.value:.1f} %"
        heard = "" if one.heard is None else f", heard {100 * one.heard.value:.1f} %"
        print(f"{name:12} {100 * one.success.value:5.1f} % of {one.success.count}{latency}{answer}{heard}")
    print(out / "report.html")
    return found
