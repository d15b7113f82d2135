"""Scores recordings of any system, two waves of one clock and their annotation, by published rules.

A file has one JSON object a line:

    {"id": "a", "task": "interruption", "audio": "both.wav", "end": 6.2,
     "words": [{"text": "one", "start": 7.0, "end": 7.3}]}

`audio` is a file with the user on its first channel and the model on its second, or two files,
{"user": "a.wav", "model": "b.wav"}; relative paths start at the folder of the file. `words` are the model's over the
whole recording, with their times in seconds, as a recogniser heard them. `end` is when the user's turn or interruption
ends. docs/duplex.md lists the tasks, their rules and what each reads.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from data_pipelines.importers.rows import JsonRow, items, json_rows, number, row_id, section, string
from data_pipelines.paths import joined
from data_pipelines.records.reject import Reason, Rejected, RejectedError, formatted
from fac_jax.audio.io import RATE, AudioError, read
from fac_jax.evaluation.benchmarks.duplex.overlap import response_latencies, stop_latencies
from fac_jax.evaluation.benchmarks.duplex.segments import Word
from fac_jax.evaluation.benchmarks.duplex.success import DEFINITION, answered, barge_ins, turn_taking
from fac_jax.evaluation.benchmarks.duplex.summary import Latency, Share, latency, share
from fac_jax.evaluation.benchmarks.duplex.takeover import (
    BackchannelInput,
    backchannels,
    interruption,
    smooth_turn,
    takeover,
)
from fac_jax.evaluation.benchmarks.duplex.voice_activity import Speech, VoiceActivity, speech_of_call
from fac_jax.io import write_text
from fac_jax.types import InputError

DIGITS: Final = 4


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that was read.

    Attributes:
      task: whose rules it is scored by.
      speech: where both sides speak, by a detector.
      words: of the model; None without a transcript.
      end: seconds; None if not given.
    """

    task: str
    speech: Speech
    words: tuple[Word, ...] | None
    end: float | None


class Task(NamedTuple):
    """The rules of a task: its source, the keys that it needs of every line, and its scorer."""

    rules: str
    needs: tuple[str, ...]
    score: Callable[[Sequence[Recording]], dict[str, Share | Latency | float]]


def score_recordings(file: Path, detector: VoiceActivity, detector_name: str, out: Path) -> list[str]:
    """Scores a file of recordings, and writes `report.json` into a folder.

    Args:
      file: as the head of this module describes.
      detector: finds speech in the waves.
      detector_name: for the report.
      out: the folder.

    Returns:
      a line for every task.

    Raises:
      InputError: there are no lines, or one lacks something, or its audio cannot be read; names up to all of them.
    """
    found: list[Recording] = []
    faults: list[str] = []
    for row in json_rows(file):
        if isinstance(row, Rejected):
            faults.append(formatted(row))
            continue
        line, values = row
        try:
            found.append(_recording(values, file, line, detector))
        except (RejectedError, AudioError) as error:
            faults.append(f"{file}, line {line}: {error}")
    if faults:
        raise InputError("; ".join(faults))
    if not found:
        raise InputError(f"{file}: no recordings")
    tasks = {}
    for name, task in TASKS.items():
        of_task = [one for one in found if one.task == name]
        if of_task:
            scored = task.score(of_task)
            tasks[name] = {"rules": task.rules, "recordings": len(of_task), **_plain(scored)}
    report = {"detector": detector_name, "tasks": tasks}
    write_text(out / "report.json", json.dumps(report, indent=2, allow_nan=False) + "\n")
    return [f"{name}: {json.dumps(values)}" for name, values in tasks.items()]


def _pause(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    return {"takeover": share(takeover(one.words or ()) for one in found)}


def _smooth_turn(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    turns = [smooth_turn(one.words or (), one.end or 0.0) for one in found]
    return {"takeover": share(turn.taken for turn in turns), "latency": latency(turn.latency for turn in turns)}


def _interruption(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    turns = [interruption(one.words or (), one.end or 0.0) for one in found]
    return {"takeover": share(turn.taken for turn in turns), "latency": latency(turn.latency for turn in turns)}


def _backchannel(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    scored = backchannels([BackchannelInput(one.speech.model, one.words, one.speech.seconds) for one in found])
    frequency = sum(one.frequency for one in scored) / len(scored)
    return {"takeover": share(one.taken for one in scored if one.taken is not None), "per_second": frequency}


def _overlap(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    stops = [one for each in found for one in stop_latencies(each.speech.user, each.speech.model)]
    responses = [one for each in found for one in response_latencies(each.speech.user, each.speech.model)]
    return {"stop_latency": latency(stops), "response_latency": latency(responses)}


def _question(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    answers = [answered(one.speech.model, one.words or (), one.end or 0.0) for one in found]
    in_time = (one.latency for one in answers if one.failure is None)
    return {"success": share(one.failure is None for one in answers), "latency": latency(in_time)}


def _turns(found: Sequence[Recording]) -> dict[str, Share | Latency | float]:
    calls = [(one.speech.user, one.speech.model) for one in found]
    turns, barged = turn_taking(calls), barge_ins(calls)
    return {
        "precision": turns.precision,
        "recall": turns.recall,
        "latency": turns.latency,
        "barge_in": barged.success,
        "barge_in_latency": barged.latency,
    }


V1, V1_5 = "Full-Duplex-Bench v1 (arXiv 2503.04721)", "Full-Duplex-Bench v1.5 (arXiv 2507.23159)"
TASKS: Final[Mapping[str, Task]] = {
    "pause": Task(V1, ("words",), _pause),
    "smooth_turn": Task(V1, ("words", "end"), _smooth_turn),
    "interruption": Task(V1, ("words", "end"), _interruption),
    "backchannel": Task(V1, (), _backchannel),
    "overlap": Task(V1_5, (), _overlap),
    "question": Task(DEFINITION, ("words", "end"), _question),
    "turns": Task("NVIDIA's script for turn taking and barge-in, 2026", (), _turns),
}


def _recording(row: JsonRow, file: Path, line: int, detector: VoiceActivity) -> Recording:
    task, name = string(row, "task"), row_id(row, file, line)
    if task not in TASKS:
        raise RejectedError(Reason.WRONG_TYPE, f"{name}: unknown task {task!r}; known: {', '.join(TASKS)}")
    missing = [key for key in TASKS[task].needs if row.get(key) is None]
    if missing:
        raise RejectedError(Reason.MISSING_KEY, f"{name}: the task {task} needs {' and '.join(missing)}")
    user, model = _channels(row, file.parent)
    if len(user) != len(model):
        lengths = f"{len(user) / RATE:.2f} s of the user, {len(model) / RATE:.2f} s of the model"
        raise RejectedError(Reason.CALL, f"{name}: both waves have one clock and one length: {lengths}")
    words = None if row.get("words") is None else tuple(map(_word, items(row, "words")))
    end = number(row, "end")
    if end is not None and end > len(user) / RATE:
        raise RejectedError(Reason.CALL, f"{name}: end is {end:g} s, the recording has {len(user) / RATE:.2f} s")
    return Recording(task, speech_of_call(user, model, RATE, detector), words, end)


def _channels(row: JsonRow, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    audio = row.get("audio")
    if isinstance(audio, dict):
        user, model = (read(joined(folder, string(audio, key))) for key in ("user", "model"))
    else:
        user, model = (read(joined(folder, string(row, "audio")), channel=channel) for channel in (0, 1))
    return user.wave, model.wave


def _word(value: Any) -> Word:
    word = section(value, "a word")
    start, end = number(word, "start"), number(word, "end")
    if start is None or end is None or start > end:
        raise RejectedError(Reason.WRONG_TYPE, f"the word {string(word, 'text')!r} needs a start and an end after it")
    return Word(string(word, "text"), start, end)


def _plain(values: Mapping[str, Share | Latency | float]) -> dict[str, Any]:
    """Returns values for JSON, which has no nan."""
    return {name: _fields(value) if isinstance(value, tuple) else _number(value) for name, value in values.items()}


def _fields(value: Share | Latency) -> dict[str, float | None]:
    return {name: _number(field) for name, field in value._asdict().items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, DIGITS)
