"""Parquet with audio columns: spoken-alpaca style conversations, or recordings with transcripts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.parquet

from data_pipelines.importers.manifest import TEXT_KEYS
from data_pipelines.importers.rows import JsonRow, Numbered, View, first_key, parsed, row_id, string, transcribed
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from fac_jax.types import InputError

SPOKEN: Final = ("input_audio", "output_audio", "speech_input", "output")
ROWS: Final = 16  # read at once; a row may hold minutes of audio


def read_spoken(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields a spoken question and its spoken reply for each row, from the columns `SPOKEN`; empty audio means text.

    Audio is a struct of `bytes` and `path`, bytes, or a path. `path` is a file or a folder of files.

    Raises:
      InputError: a file cannot be read, or lacks a column.
    """

    def parse(row: JsonRow, file: Path, number: int) -> Record:
        asked, said = string(row, "speech_input", ""), string(row, "output")
        heard, spoken = (_audio(row[key], text, root) for key, text in (("input_audio", asked), ("output_audio", said)))
        user = Message("user", "" if heard else asked, heard)
        return Record(
            row_id(row, file, number), None, (user, Message("assistant", said, spoken)), None, str(file), number
        )

    for file in _files(path):
        missing = [name for name in SPOKEN if name not in columns(file)]
        if missing:
            raise InputError(f"{file}: no column {missing[0]}; it has {', '.join(columns(file))}")
        yield from parsed(file, _rows(file, (*SPOKEN, "id")), lambda row, n, file=file: parse(row, file, n))


def read_audio(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields a recording for each row, from the column `audio`, with its transcript from one of `TEXT_KEYS`.

    Raises as `read_spoken`.
    """

    def parse(row: JsonRow, file: Path, number: int) -> Record:
        text = string(row, first_key(row, TEXT_KEYS))
        audio = _audio(row.get("audio"), text, root)
        if audio is None:
            raise RejectedError(Reason.MISSING_AUDIO, "the column audio is empty")
        return transcribed(row_id(row, file, number), audio, text, str(file), number, view)

    for file in _files(path):
        if "audio" not in columns(file) or not set(TEXT_KEYS) & set(columns(file)):
            raise InputError(
                f"{file}: no columns audio and {' or '.join(TEXT_KEYS)}; it has {', '.join(columns(file))}"
            )
        yield from parsed(file, _rows(file, ("audio", *TEXT_KEYS, "id")), lambda row, n, file=file: parse(row, file, n))


def columns(file: Path) -> list[str]:
    """Names of a file's columns.

    Raises:
      InputError: it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            return pyarrow.parquet.read_schema(opened).names
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f"{file}: no parquet file: {error}") from None


def count(file: Path) -> int:
    """Rows of a file; raises as `columns`."""
    columns(file)
    with file.open("rb") as opened:
        return pyarrow.parquet.read_metadata(opened).num_rows


def _files(path: Path) -> list[Path]:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InputError(f"{path}: no .parquet file there")
    return files


def _rows(file: Path, names: tuple[str, ...]) -> Iterator[Numbered[JsonRow] | Rejected]:
    number, known = 0, set(columns(file))
    wanted = [name for name in names if name in known]
    try:
        with file.open("rb") as opened:
            for batch in pyarrow.parquet.ParquetFile(opened).iter_batches(ROWS, columns=wanted):
                for index in range(batch.num_rows):
                    number += 1
                    try:
                        yield number, {name: batch.column(name)[index].as_py() for name in batch.schema.names}
                    except UnicodeDecodeError as error:
                        yield Rejected(Reason.BAD_UTF8, f"a text is not UTF-8: {error.reason}", str(file), number)
    except (OSError, pyarrow.ArrowInvalid) as error:
        raise InputError(f"{file}: cannot be read after row {number}: {error}") from None


def _audio(value: Any, text: str, root: Path) -> Audio | None:
    """The audio of a cell; None for an empty cell."""
    if isinstance(value, dict):
        data, named = value.get("bytes"), value.get("path") or ""
    else:
        data, named = (value, "") if isinstance(value, bytes) else (None, value or "")
    if not isinstance(named, str) or not isinstance(data, bytes | None):
        raise RejectedError(Reason.WRONG_TYPE, "an audio must be a struct of bytes and path, bytes, or a path")
    if data is None and not named:
        return None
    return Audio(data=data, path=joined(root, named) if named else None, named=named, transcript=text)
