"""Scores of the scenarios: of a full-duplex model, of its settings of eagerness, and of the baselines beside it."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from experiments.calls.heard import HeardReplies
from experiments.calls.predictions import Baseline, Predictions
from experiments.calls.scripted import Scripted
from fac_jax.api import Model
from fac_jax.evaluation.benchmarks.duplex.voice_activity import VoiceActivity
from fac_jax.evaluation.calls.base import Outcome, Reply, Scenario
from fac_jax.evaluation.calls.scenarios import SCORERS
from fac_jax.evaluation.calls.scores import Scores, scores
from fac_jax.evaluation.reports.calls import Curve, Point, Scenarios
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.live_call import CallOptions
from fac_jax.progress import bar

START: Final[tuple[Scenario, Scenario]] = ("clean_turn", "pause")  # of the latency, and of the mistakes
STOP: Final[tuple[Scenario, Scenario]] = ("interruption", "backchannel")
# Whose answers are short: the sound of a count takes long to compare, and says little of what was understood.
LISTENED: Final[Sequence[Scenario]] = ("clean_turn", "pause", "unfinished", "interruption", "greeting")
OWN: Final = "own"  # name of the setting that the model has


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Settings of one kind of eagerness.

    Attributes:
      name: a field of `CallOptions`.
      values: in nats, rising.
      own: the model's value.
      of: the scenarios of the latency and of the mistakes.
      title: of the curve.
      mistakes: what is a mistake.
      latency: of what.
    """

    name: str
    values: Sequence[float]
    own: float
    of: tuple[Scenario, Scenario]
    title: str
    mistakes: str
    latency: str

    @property
    def others(self) -> list[float]:
        """Returns the values that are not the model's own."""
        return [value for value in self.values if value != self.own]


def sweeps(model: Model, start: Sequence[float], stop: Sequence[float]) -> list[Sweep]:
    """Returns the settings of both kinds of a full-duplex model."""
    duplex = model.config.duplex
    assert duplex is not None
    return [
        Sweep(
            "start_bias", sorted(start), duplex.start_bias, START, "Eagerness to start",
            "takes the turn in a pause", "an answer",
        ),
        Sweep(
            "stop_bias", sorted(stop), duplex.stop_bias, STOP, "Eagerness to stop",
            "does not go on after a backchannel", "a stop",
        ),
    ]  # fmt: skip


def _sounds(found: Predictions, scripted: Sequence[Scripted], model: Model) -> list[list[Reply]]:
    """Returns the replies of every call with the words that they sound like; none for calls of other scenarios."""
    asked = [one for one in scripted if one.scenario in LISTENED]
    ears, sounds = HeardReplies(asked, model.codec), []
    with bar("calls, listening", len(scripted)) as advance:
        for one in scripted:
            sounds.append(ears.replies(found.found[one.key]) if one.scenario in LISTENED else [])
            advance(1)
    return sounds


def score(
    scripted: Sequence[Scripted],
    replies: Sequence[Sequence[Reply]],
    heard: Sequence[Sequence[Reply]] | None = None,
) -> Scenarios:
    """Returns the scores of every scenario of which there are calls.

    Args:
      scripted: calls.
      replies: those of each call, with their text.
      heard: the same with the words that their speech sounds like; None if nobody listened.
    """
    by_text, by_ear = _outcomes(scripted, replies), {} if heard is None else _outcomes(scripted, heard)
    return {name: scores(found, by_ear[name] if heard and name in LISTENED else ()) for name, found in by_text.items()}


def _outcomes(scripted: Sequence[Scripted], replies: Sequence[Sequence[Reply]]) -> dict[Scenario, list[Outcome]]:
    found: dict[Scenario, list[Outcome]] = collections.defaultdict(list)
    for one, of_call in zip(scripted, replies, strict=True):
        found[one.scenario].append(_outcome(one, of_call))
    return found


def items(scripted: Sequence[Scripted], found: Predictions, model: Model) -> dict[str, dict[str, float]]:
    """Returns for every share of a report the verdict on each call, 0 or 1, by the call's id."""
    verdicts: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for one in scripted:
        outcome, name = _outcome(one, found.replies(one, model)), f"scenarios.{one.scenario}"
        verdicts[f"{name}.success"][one.script.id] = float(outcome.success)
        if outcome.answer is not None:
            verdicts[f"{name}.answer"][one.script.id] = float(outcome.answer)
    return dict(verdicts)


def _outcome(one: Scripted, heard: Sequence[Reply]) -> Outcome:
    return SCORERS[one.scenario](one.script, heard)


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """What was found.

    Attributes:
      own: finished calls at the model's own settings.
      scenarios: their scores.
      baselines: scores of the baselines by name, "vad_500" for 500 ms of silence.
      curves: by the name of the sweep.
    """

    own: Predictions
    scenarios: Scenarios
    baselines: Mapping[str, Scenarios]
    curves: Mapping[str, Curve]


def evaluate(
    model: Model,
    half_duplex: Model | None,
    detector: VoiceActivity,
    scripted: Sequence[Scripted],
    swept: Sequence[Sweep],
    rows: int,
    places: int,
    folder: Path,
) -> Evaluation:
    """Runs and scores calls; what an earlier run has made is taken from the folder.

    Args:
      model: full-duplex.
      half_duplex: model of the baselines; None for no baselines.
      detector: of the baselines.
      scripted: calls of the scenarios.
      swept: settings of eagerness.
      rows: calls of each scenario that are run at these.
      places: calls that run side by side.
      folder: gets the predictions.

    Raises:
      InputError: the model takes no calls, or a user's channel cannot be read.
    """
    calls = Calls(model.module, model.params, model.tokenizer, places)

    def run(name: str, some: Sequence[Scripted], options: CallOptions) -> Predictions:
        found = Predictions(folder / f"{name}.jsonl")
        found.run(name, calls, some, options)
        return found

    def texts(found: Predictions, some: Sequence[Scripted]) -> list[list[Reply]]:
        return [found.replies(one, model) for one in some]

    def scored(found: Predictions, some: Sequence[Scripted]) -> Scenarios:
        return score(some, texts(found, some))

    own = run(OWN, scripted, CallOptions())
    heard = (
        {} if half_duplex is None else Baseline(half_duplex, detector, folder / "half_duplex.jsonl").replies(scripted)
    )
    baselines = {f"vad_{round(1000 * silence)}": score(scripted, replies) for silence, replies in heard.items()}
    curves = {}
    for sweep in swept:
        some = _first(scripted, sweep.of, rows)
        if {one.scenario for one in some} != set(sweep.of):
            continue
        points = {sweep.own: scored(own, some)}
        for value in sweep.others:
            options = dataclasses.replace(CallOptions(), **{sweep.name: value})
            points[value] = scored(run(f"{sweep.name}_{value:g}", some, options), some)
        model_points = [_point(f"{sweep.name} {value:g}", points[value], sweep) for value in sorted(points)]
        others = [_point(name, found, sweep) for name, found in baselines.items()]
        curves[sweep.name] = Curve(sweep.title, sweep.mistakes, sweep.latency, model_points, others)
    return Evaluation(own, score(scripted, texts(own, scripted), _sounds(own, scripted, model)), baselines, curves)


def _point(label: str, found: Mapping[Scenario, Scores], sweep: Sweep) -> Point:
    latency, mistakes = (found[name] for name in sweep.of)
    return Point(label, 1 - mistakes.success.value, latency.latency_median, latency.latency_p90)


def _first(scripted: Sequence[Scripted], names: Sequence[Scenario], rows: int) -> list[Scripted]:
    """Returns the first calls of some scenarios."""
    return [one for name in names for one in [each for each in scripted if each.scenario == name][:rows]]
