"""Manifests of recordings with transcripts, as JSONL or as a table (CSV, TSV) with a header."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from data_pipelines.importers.rows import (
    JsonRow,
    Numbered,
    View,
    first_key,
    hertz,
    json_rows,
    number,
    parsed,
    row_id,
    string,
    transcribed,
)
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Reason, Rejected, is_utf8, one_line
from fac_jax.types import InputError

AUDIO_KEYS: Final = ("audio", "audio_filepath", "audio_path", "wav", "wav_path", "path", "file")
TEXT_KEYS: Final = ("text", "transcript", "transcription", "sentence")
RATE_KEYS: Final = ("sampling_rate", "sample_rate")


def read_jsonl(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields one recording for each line, with the keys `AUDIO_KEYS`, `TEXT_KEYS` and optionally `id` and `RATE_KEYS`.

    `offset` and `duration` (seconds) select a part of the file, without `duration` to its end; raises as `json_rows`.
    """
    return parsed(path, json_rows(path), lambda row, line: _record(row, path, line, root, view))


def read_table(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """As `read_jsonl`, from columns; a .tsv file has tabs and no quotes; raises as `table_rows`."""
    return parsed(path, table_rows(path), lambda row, line: _record(row, path, line, root, view))


def table_rows(path: Path) -> Iterator[Numbered[JsonRow] | Rejected]:
    """Yields the rows of a table as objects with the header's names; line 1 is the header.

    Raises:
      InputError: the file cannot be read, or has no header.
    """
    try:
        file = io.TextIOWrapper(path.open("rb"), encoding="utf-8-sig", errors="surrogateescape", newline="")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    with file:
        dialect: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if path.suffix == ".tsv" else {}
        reader = csv.reader(file, **dialect)
        names = _next(reader)
        if not isinstance(names, list) or not any(names):
            raise InputError(f"{path}: its first line names no columns")
        while (cells := _next(reader)) is not None:
            if isinstance(cells, str):
                yield Rejected(Reason.MALFORMED, cells, str(path), reader.line_num)
            elif cells and not is_utf8("".join(cells)):
                yield Rejected(Reason.BAD_UTF8, "the line holds bytes that are not UTF-8", str(path), reader.line_num)
            elif cells and len(cells) != len(names):
                detail = f"{len(cells)} columns, the header has {len(names)}"
                yield Rejected(Reason.MALFORMED, detail, str(path), reader.line_num)
            elif cells:
                yield reader.line_num, dict(zip(names, cells, strict=True))


def _next(reader: Iterator[list[str]]) -> list[str] | str | None:
    """Cells of the next line, an error message, or None at the end."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return one_line(str(error))


def _record(row: JsonRow, path: Path, line: int, root: Path, view: View) -> Record:
    named = string(row, first_key(row, AUDIO_KEYS))
    text = string(row, first_key(row, TEXT_KEYS))
    rate = next((hertz(row, key) for key in RATE_KEYS if row.get(key) is not None), None)
    where = joined(root, named) if named else None
    start = number(row, "offset") or 0.0
    seconds = number(row, "duration") if "offset" in row else None
    end = None if seconds is None else start + seconds
    audio = Audio(path=where, named=named, rate=rate, start=start, end=end, transcript=text)
    return transcribed(row_id(row, path, line), audio, text, str(path), line, view)
