"""Files of replies, which are scored without a model: our own, and those of the official tools."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from data_pipelines.benchmarks.base import DataSet, Row, adapted, fields_of, first_of, missing
from data_pipelines.benchmarks.items import AudioFile, Item, ItemSet
from data_pipelines.benchmarks.loading import Names, audio_of, row_key
from data_pipelines.benchmarks.reading import located, read_text
from data_pipelines.benchmarks.snapshot import read_parquet
from fac_jax.types import InputError

ID: Final = "id"
PREDICTION: Final = "prediction"
AUDIO: Final = ("audio", "response_audio_path")  # ours, and that of the replies of VStyle


@dataclasses.dataclass(frozen=True)
class Predicted:
    """A reply to one row.

    Attributes:
      item: the row that is answered.
      prediction: the reply as the file has it, mostly a text; None where it is absent or null.
      audio: the reply's speech; None for a reply of text.
    """

    item: Item
    prediction: Any
    audio: AudioFile | None


@dataclasses.dataclass(frozen=True)
class PredictionSet:
    """The replies of a file.

    Attributes:
      benchmark: name of the benchmark.
      replies: the replies in the order of the file.
      rows: number of rows in the file, those that are left out included.
      expected: number of rows of the official set; None where it is not known.
      left_out: ids of the rows that do not belong to the benchmark, and why.
      unanswered: rows of the data set that the file does not answer; none without a data set.
    """

    benchmark: str
    replies: tuple[Predicted, ...]
    rows: int
    expected: int | None
    left_out: Mapping[str, str]
    unanswered: tuple[Item, ...]


def prediction_row(item: Item, prediction: Any, audio: str | None = None) -> dict[str, Any]:
    """The line of predictions.jsonl for a reply; `audio` is the path of its speech, relative to that file.

    It holds the fields of the row, so that `read` needs no data set.
    """
    return {ID: item.id, **item.fields, PREDICTION: prediction, **({} if audio is None else {AUDIO[0]: audio})}


def read(benchmark: DataSet, file: Path, data: ItemSet | None = None) -> PredictionSet:
    """Reads replies from JSON lines, from a JSON array (.json) or from parquet.

    A row holds its reply in `prediction`, or where the official tool writes it (`DataSet.replies`), and the path of
    its speech in one of `AUDIO`. With a data set it is matched by `id`, or by the key of the data set; without one it
    holds the fields of the row itself, by their canonical or their official names.

    Raises:
      InputError: the file cannot be read; or a row is malformed, lacks a reply or a field, answers no row of the data
        set, or one that an earlier row answers.
    """
    found = read_parquet([file]) if file.suffix == ".parquet" else read_text([file])
    rows = [adapted(benchmark, row) for row in found]
    if not rows:
        raise InputError(f"{file}: holds no row")
    items, left_out = _own(benchmark, rows) if data is None else _matched(benchmark, rows, data)
    replies = tuple(Predicted(items[n], *_reply(benchmark, row)) for n, row in enumerate(rows) if n in items)
    answered = {reply.item.id for reply in replies}
    unanswered = tuple(item for item in data.items if item.id not in answered) if data else ()
    return PredictionSet(benchmark.name, replies, len(rows), benchmark.expected, left_out, unanswered)


def _reply(benchmark: DataSet, row: Row) -> tuple[Any, AudioFile | None]:
    names = (PREDICTION, *benchmark.replies)
    spoken = first_of(row.values, AUDIO)
    if not spoken and not benchmark.unanswered and not any(name in row.values for name in names):
        raise missing(row, names)
    found = first_of(row.values, names)
    if spoken and not isinstance(spoken[1], str):
        raise InputError(f"{row.place}: column {spoken[0]} is {spoken[1]!r}: must be the path of a file")
    return found[1] if found else None, AudioFile(located(spoken[1], row.folder)) if spoken else None


def _own(benchmark: DataSet, rows: list[Row]) -> tuple[dict[int, Item], dict[str, str]]:
    """Items of the fields that the rows hold themselves, by the rows' numbers; and the ids of rows left out."""
    items: dict[int, Item] = {}
    left_out: dict[str, str] = {}
    names = Names()
    for number, row in enumerate(rows):
        fields = fields_of(benchmark, row)
        name = names.unique(row_key(row, (ID, *benchmark.key)) or str(number))
        if (cause := benchmark.left_out(fields)) is not None:
            left_out[name] = cause
            continue
        audio = audio_of(benchmark, row, row.folder)
        there = not isinstance(audio, AudioFile) or audio.path.is_file()
        items[number] = Item(name, audio if there else None, fields)
    return items, left_out


def _matched(benchmark: DataSet, rows: list[Row], data: ItemSet) -> tuple[dict[int, Item], dict[str, str]]:
    """Items of the data set that the rows name, by the rows' numbers; and the ids of rows left out."""
    known = {item.id: item for item in data.items}
    items: dict[int, Item] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows):
        name = row_key(row, (ID, *benchmark.key))
        if name is None:
            raise missing(row, (ID, *benchmark.key))
        if name in seen:
            raise InputError(f"{row.place}: row {name!r} has a reply already")
        seen.add(name)
        if name in known:
            items[number] = known[name]
        elif name not in data.left_out:
            raise InputError(f"{row.place}: the data set of {data.benchmark} has no row {name!r}")
    return items, {name: cause for name, cause in data.left_out.items() if name in seen}
