"""The later steps of an evaluation: models of others, judge, scorer. Each keeps what it has done and goes on after it.

The folder of a benchmark gets `models.jsonl` (what recognisers and others answered), `judgements.jsonl` (what a judge
replied), `scores.jsonl` (one outcome a row) and `result.json` (the value).
"""

import dataclasses
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from data_pipelines.benchmarks.items import AudioRef
from data_pipelines.benchmarks.predictions import Predicted, PredictionSet
from experiments.scoring.config import ScoringConfig
from fac_jax.evaluation.benchmarks.assets import FILES, Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Ask, Benchmark, Need, Scorer
from fac_jax.evaluation.judges.base import Judge, JudgeIdentity, Request
from fac_jax.evaluation.judges.make import make_judge
from fac_jax.evaluation.reports.benchmarks import Result
from fac_jax.evaluation.speech.plugins import Plugin
from fac_jax.io import write_text
from fac_jax.progress import bar

JUDGEMENTS, MODELS, SCORES, RESULT = "judgements.jsonl", "models.jsonl", "scores.jsonl", "result.json"
CHUNK: Final = 64  # questions to a model of others between two steps of the bar


@dataclasses.dataclass(frozen=True)
class Scored:
    """Outcomes of the answers of a set, and the result that a report shows."""

    answers: Sequence[Answered]
    outcomes: Sequence[Outcome]
    result: Result


def check_models(
    benchmark: Benchmark, rules: Rules, config: ScoringConfig, assets: Assets, assets_folder: Path | None, folder: Path
) -> None:
    """Checks before any work that a scorer will find what it needs; arguments are those of `score_set`.

    Raises:
      InputError: an asset, a key or the weights of a model are missing.
    """
    scorer = benchmark.scorers[rules]
    for name in scorer.assets:
        assets.path({file.name: file for file in FILES}[name])
    if scorer.asks is not None and config.judge is not None:
        make_judge(config.judge, folder / JUDGEMENTS, assets_folder)
    for need in scorer.needs:
        _plugin(need, config, folder)


def score_set(
    benchmark: Benchmark,
    rules: Rules,
    found: PredictionSet,
    config: ScoringConfig,
    assets: Assets,
    assets_folder: Path | None,
    folder: Path,
    how: Mapping[str, Any],
) -> Scored:
    """Scores the answers of a benchmark, and writes outcomes and result into a folder.

    Args:
      benchmark: what was asked.
      rules: a rule set that the benchmark has.
      found: the answers.
      config: models of others.
      assets: files of others.
      assets_folder: their folder, in which official judge prompts are known; None if there is none.
      folder: folder of the benchmark.
      how: what the report says of how the answers were made.

    Raises:
      InputError: a model of others cannot be started or fails, a judge cannot be asked, or an asset is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scorer = benchmark.scorers[rules]
    answers = [Answered(one.item.id, one.item.fields, _text(one.prediction)) for one in found.replies]
    models: dict[str, str] = {}
    stand_ins: list[str] = []
    for need in scorer.needs:
        plugin = _plugin(need, config, folder)
        if plugin is not None:
            answers = _RUN[need](plugin, answers, found.replies, benchmark)
            models[need] = plugin.identity.describe()
            if not plugin.identity.official(need):
                stand_ins.append(f"{need}: {plugin.identity.name}")
    if scorer.asks is not None and config.judge is not None:
        judge = make_judge(config.judge, folder / JUDGEMENTS, assets_folder)
        answers, who = _judged(judge, scorer, answers, found.replies, benchmark)
        models |= {f"judge, {template}": one.describe() for template, one in who.items()}
        stand_ins += ["judge"] if any(one.stand_in for one in who.values()) else []
    scores = scorer.score(answers, assets)
    unscored = Counter(one.cause for one in scores.outcomes if one.cause is not None)
    remarks = Counter(one.detail["remark"] for one in scores.outcomes if "remark" in one.detail)
    result = Result(
        benchmark=benchmark.name,
        title=benchmark.title,
        unit=benchmark.unit,
        rules=rules,
        rows=len(answers),
        expected_rows=found.expected,
        scored=len(answers) - unscored.total(),
        unscored=dict(unscored),
        value=scores.headline.value(),
        interval=scores.headline.interval(),
        values=dict(scores.values),
        lower_is_better=benchmark.lower_is_better,
        models=models,
        stand_in=stand_ins,
        how=dict(how),
        notes=[f"{count} rows: {remark}" for remark, count in remarks.items()] + _left_out(found),
        measure=scores.headline,
    )
    _write(folder, answers, scores.outcomes, result)
    return Scored(answers, scores.outcomes, result)


def _text(prediction: Any) -> str | None:
    return prediction if isinstance(prediction, str) else None


def _left_out(found: PredictionSet) -> list[str]:
    causes = Counter(found.left_out.values())
    notes = [f"{count} rows of the file are left out: {cause}" for cause, count in causes.items()]
    return notes + ([f"{len(found.unanswered)} rows of the set have no answer"] if found.unanswered else [])


def _write(folder: Path, answers: Sequence[Answered], outcomes: Sequence[Outcome], result: Result) -> None:
    lines = [
        {
            "id": answer.id,
            "points": outcome.points,
            "cause": outcome.cause,
            "detail": outcome.detail,
            "prediction": answer.reply,
            **({"heard": answer.heard} if answer.heard is not None else {}),
            **({"mos": answer.mos} if answer.mos is not None else {}),
        }
        for answer, outcome in zip(answers, outcomes, strict=True)
    ]
    write_text(folder / SCORES, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    write_text(folder / RESULT, json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n")


def _plugin(need: Need, config: ScoringConfig, folder: Path) -> Plugin | None:
    wanted = {"recogniser": config.recogniser, "mos": config.mos, "embedder": config.embedder}[need]
    return None if wanted is None else Plugin(wanted, folder / MODELS)


def _spoken(replies: Sequence[Predicted]) -> list[int]:
    return [n for n, one in enumerate(replies) if one.audio is not None]


def _recognised(
    plugin: Plugin, answers: list[Answered], replies: Sequence[Predicted], benchmark: Benchmark
) -> list[Answered]:
    """Returns the answers with what a recogniser heard; a reply without speech was heard as nothing."""
    found = [dataclasses.replace(one, heard="") for one in answers]
    for numbers, paths in _chunks(f"{benchmark.name}: recognising", replies):
        for n, heard in zip(numbers, plugin.recognise(paths), strict=True):
            found[n] = dataclasses.replace(found[n], heard=heard)
    return found


def _measured(
    plugin: Plugin, answers: list[Answered], replies: Sequence[Predicted], benchmark: Benchmark
) -> list[Answered]:
    found = list(answers)
    for numbers, paths in _chunks(f"{benchmark.name}: quality", replies):
        for n, mos in zip(numbers, plugin.mos(paths), strict=True):
            found[n] = dataclasses.replace(found[n], mos=mos)
    return found


def _chunks(what: str, replies: Sequence[Predicted]) -> Iterator[tuple[list[int], list[Path]]]:
    """Yields the numbers and sound files of spoken replies, some at a time."""
    spoken = _spoken(replies)
    with bar(what, len(spoken)) as advance:
        for start in range(0, len(spoken), CHUNK):
            numbers = spoken[start : start + CHUNK]
            yield numbers, [audio.path for n in numbers if (audio := replies[n].audio) is not None]
            advance(len(numbers))


def _compared(
    plugin: Plugin, answers: list[Answered], replies: Sequence[Predicted], benchmark: Benchmark
) -> list[Answered]:
    """Returns the answers with their cosine similarity to each choice."""

    def cosines(answer: Answered) -> Answered:
        vectors = plugin.embed([answer.reply or "", *answer.row["choices"]])
        reply, choices = vectors[0], vectors[1:]
        norms = np.linalg.norm(choices, axis=1) * np.linalg.norm(reply)
        return dataclasses.replace(answer, similarities=(choices @ reply / np.maximum(norms, 1e-12)).tolist())

    return [cosines(one) if len(one.row.get("choices") or ()) > 1 else one for one in answers]


_RUN: Final = {"recogniser": _recognised, "mos": _measured, "embedder": _compared}


def _judged(
    judge: Judge, scorer: Scorer, answers: list[Answered], replies: Sequence[Predicted], benchmark: Benchmark
) -> tuple[list[Answered], dict[str, JudgeIdentity]]:
    """Returns the answers with a judge's replies, and who judged by each template."""
    assert scorer.asks is not None
    asks = {n: ask for n, one in enumerate(answers) if (ask := scorer.asks(one)) is not None}
    requests = [_request(answers[n].id, ask, replies[n]) for n, ask in asks.items()]
    place = {answers[n].id: n for n in asks}
    found = list(answers)
    with bar(f"{benchmark.name}: judging", len(requests)) as advance:
        for one in judge.ask(requests, scorer.readable):
            n = place[one.id]
            unjudged = one.cause if one.replies is None else None
            found[n] = dataclasses.replace(found[n], judged=one.replies, unjudged=unjudged)
            advance(1)
    templates = dict.fromkeys(ask.template for ask in asks.values())
    return found, {template: judge.identity(template) for template in templates}


def _request(name: str, ask: Ask, reply: Predicted) -> Request:
    heard = (reply.item.audio, reply.audio) if ask.hears else ()
    return Request(name, ask.template, ask.fields, tuple(_wav(one) for one in heard if one is not None))


def _wav(audio: AudioRef) -> bytes:
    """Returns the bytes of a 16-bit WAV file at 16 kHz."""
    wave, rate = audio.read()
    data = io.BytesIO()
    soundfile.write(data, np.clip(wave, -1, 1), rate, subtype="PCM_16", format="WAV")
    return data.getvalue()
