"""The report over all benchmarks of a folder: results beside the paper's, overall values, and answers to look at."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from data_pipelines.benchmarks.items import AudioFile, AudioRef
from data_pipelines.benchmarks.predictions import Predicted
from experiments.scoring.scoring import RESULT, Scored
from fac_jax.evaluation.benchmarks import paper
from fac_jax.evaluation.benchmarks.base import Outcome
from fac_jax.evaluation.benchmarks.benchmark import Answered
from fac_jax.evaluation.benchmarks.table import BENCHMARKS
from fac_jax.evaluation.reports.benchmarks import BenchmarkReport, Example, Result, Table, write_benchmark_report
from fac_jax.evaluation.reports.pages.page import Sound
from fac_jax.types import InputError

SHOWN: Final = 6  # answers of a benchmark on the page
TITLES: Final = {
    "openaudiobench": "OpenAudioBench",
    "voicebench": "VoiceBench",
    "ultraeval": "UltraEval-Audio, spoken replies",
    "mmau": "MMAU",
    "mmau-pro": "MMAU-Pro",
    "mmsu": "MMSU",
    "asr": "Speech recognition",
    "speechfc": "Speech function calling",
    "vstyle": "VStyle",
    "bigbench-audio": "Big Bench Audio",
}
QUESTION: Final = ("prompt", "question", "utterance", "instruct_text", "transcript", "ref")  # words of a question


def results(out: Path) -> list[Result]:
    """Returns the results in a folder, in the order of the table of benchmarks.

    Raises:
      InputError: a file of results is damaged.
    """
    found = [_read(out / name / RESULT) for name in BENCHMARKS]
    return [one for one in found if one is not None]


def _read(file: Path) -> Result | None:
    if not file.exists():
        return None
    try:
        return Result.from_json(json.loads(file.read_text("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: no result of this version: {error}; remove it and score again") from None


def tables(found: Sequence[Result]) -> list[Table]:
    """Returns the results by family, with what the paper prints for them."""
    families = dict.fromkeys(BENCHMARKS[one.benchmark].family for one in found)
    return [_table(family, [one for one in found if BENCHMARKS[one.benchmark].family == family]) for family in families]


def _table(family: str, found: list[Result]) -> Table:
    peers: dict[str, dict[str, float]] = {}
    for name in [one.benchmark for one in found]:
        _add(peers, paper.peers(name), name)
    _add(peers, paper.peers(family), "overall")
    return Table(TITLES[family], found, _overall(family, found), peers)


def _add(peers: dict[str, dict[str, float]], beside: paper.Beside, name: str) -> None:
    for figure in (beside.small, beside.large, *beside.peers):
        if figure is not None:
            peers.setdefault(figure.model, {})[name] = figure.value


def _overall(family: str, found: Sequence[Result]) -> float | None:
    """Returns the paper's overall of a family; None where a part is missing, stood in for, or not of its rules."""
    values = {one.benchmark.split("/", 1)[1]: one.value for one in found if one.value is not None and not one.stand_in}
    try:
        return paper.overall(family, values)
    except ValueError:
        return None


def examples(scored: Scored, replies: Sequence[Predicted]) -> list[Example]:
    """Returns some answers: as many of the wrong ones as of the right ones, in the order of the set."""
    pairs = list(enumerate(zip(scored.answers, scored.outcomes, strict=True)))
    errors = scored.result.lower_is_better
    right = [pair for pair in pairs if (pair[1][1].points == 0 if errors else pair[1][1].points)]
    wrong = [pair for pair in pairs if pair not in right]
    few = SHOWN // 2
    chosen = sorted(wrong[: max(few, SHOWN - len(right))] + right[: max(few, SHOWN - len(wrong))], key=lambda p: p[0])
    return [_example(answer, outcome, replies[n], "errors" if errors else "points") for n, (answer, outcome) in chosen]


def _example(answer: Answered, outcome: Outcome, reply: Predicted, unit: str) -> Example:
    question = next((str(answer.row[key]) for key in QUESTION if answer.row.get(key)), "")
    points = "not scored: " + str(outcome.cause) if outcome.points is None else f"{outcome.points:.4g} {unit}"
    details = ", ".join(f"{key} {value}" for key, value in outcome.detail.items())
    verdict = f"{points} ({details})" if details else points
    asked, spoken = _sound(reply.item.audio), _sound(reply.audio)
    return Example(answer.id, question, asked, answer.reply or "", spoken, answer.heard, verdict)


def _sound(audio: AudioRef | None) -> Sound | None:
    if audio is None or (isinstance(audio, AudioFile) and not audio.path.is_file()):
        return None
    return Sound(*audio.read())


def write_report(out: Path, title: str, shown: Mapping[str, Sequence[Example]], note: str = "") -> Path:
    """Writes `report.html` and `report.json` over all results in a folder; returns the page.

    `note` stands first on the page.
    """
    found = results(out)
    report = BenchmarkReport(title, f"{note} {_summary(found)}".strip(), tables(found), shown)
    page = out / "report.html"
    write_benchmark_report(page, report)
    return page


def _summary(found: Sequence[Result]) -> str:
    scored, rows = sum(one.scored for one in found), sum(one.rows for one in found)
    stand_ins = sum(bool(one.stand_in) for one in found)
    words = f"{len(found)} benchmarks, {scored} of {rows} rows scored."
    if stand_ins:
        words += f" In {stand_ins} of them a stand-in took the place of a judge or another model of the official rules."
    return words + " Figures of other models are those that the paper prints (arXiv 2512.20156, 20 January 2026)."


def printed(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Returns one short object for each result, as launchers print it."""
    return [
        {
            "benchmark": one.benchmark,
            "rules": one.rules,
            "rows": one.rows,
            "scored": one.scored,
            "value": None if one.value is None else round(one.value, 4),
            "interval": None if one.interval is None else [round(end, 4) for end in one.interval],
            **({"unscored": dict(one.unscored)} if one.unscored else {}),
            **({"stand_in": list(one.stand_in)} if one.stand_in else {}),
        }
        for one in found
    ]
