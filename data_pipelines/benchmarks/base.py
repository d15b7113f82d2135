"""What a benchmark is on disk: its layouts, its columns and where it comes from."""

import dataclasses
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from data_pipelines.benchmarks.items import AudioRef
from data_pipelines.records.reject import one_line
from fac_jax.types import InputError

Values: TypeAlias = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row as a file holds it.

    Attributes:
      values: values by the names of the file's columns.
      place: file and line of the row, for messages.
      folder: the file's folder, from which paths in the row are taken.
      audio: the row's audio where it is no column of text.
    """

    values: Values
    place: str
    folder: Path
    audio: AudioRef | None = None


@dataclasses.dataclass(frozen=True)
class Layout:
    """One way in which a benchmark lies in its folder.

    Attributes:
      files: the files that are looked for, as a pattern below the folder (`*` stands for any part of a name).
      read: yields the rows of the files that were found, which are sorted by name.
    """

    files: str
    read: Callable[[Sequence[Path]], Iterator[Row]]


class Missing(enum.Enum):
    """What becomes of a column that a row lacks."""

    REFUSED = "the row is an error"
    ABSENT = "the row has no such field"


def text(value: Any) -> str:
    """A text; raises ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    return value


def texts(value: Any) -> list[str]:
    """A list of texts; raises ValueError for anything else."""
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise ValueError("must be a list of texts")
    return value


def objects(value: Any) -> list[dict[str, Any]]:
    """A list of objects; raises ValueError for anything else."""
    if not isinstance(value, list) or not all(isinstance(part, dict) for part in value):
        raise ValueError("must be a list of objects")
    return value


def whole(value: Any) -> int:
    """A whole number; raises ValueError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("must be a whole number")
    return value


def anything(value: Any) -> Any:
    """The value as it is."""
    return value


@dataclasses.dataclass(frozen=True)
class Column:
    """A field of the rows and the columns that it comes from.

    Attributes:
      name: canonical name of the field. A column of this name is taken first.
      sources: further names of the column, in the order in which they are looked for.
      parse: turns the value of the column into that of the field; raises ValueError if it cannot.
      default: the field's value in a row without the column or with null there, or what becomes of such a row.
    """

    name: str
    sources: tuple[str, ...] = ()
    parse: Callable[[Any], Any] = text
    default: Any = Missing.REFUSED


def unchanged(values: Values) -> Values:
    """The values as they are."""
    return values


def nothing(fields: Values) -> str | None:
    """No row is left out."""
    return None


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A benchmark as it lies on disk.

    Attributes:
      name: family and subset, such as "voicebench/ifeval".
      source: what is to be downloaded, and from where.
      expected: rows of the official set; None where the number is not known.
      layouts: ways in which it may lie in its folder; the first whose files are there is read.
      columns: the fields of its rows.
      key: columns that may name a row; the first that a row has is its id. Without one its number is, from 0.
      audio: columns that may hold the path of the audio.
      replies: columns of official files of predictions that hold the model's reply, besides `prediction`.
      unanswered: whether official files of predictions may hold rows without a reply.
      adapt: brings the values of a row into the form that `columns` reads; raises ValueError if it cannot.
      left_out: why a row with these fields does not belong to the benchmark; None if it does.
    """

    name: str
    source: str
    expected: int | None
    layouts: tuple[Layout, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...] = ("id",)
    audio: tuple[str, ...] = ("file_name",)
    replies: tuple[str, ...] = ()
    unanswered: bool = False
    adapt: Callable[[Values], Values] = unchanged
    left_out: Callable[[Values], str | None] = nothing


def adapted(benchmark: DataSet, row: Row) -> Row:
    """The row in the form that the benchmark's columns read.

    Raises:
      InputError: it cannot be brought into that form.
    """
    try:
        return dataclasses.replace(row, values=benchmark.adapt(row.values))
    except ValueError as error:
        raise InputError(f"{row.place}: {one_line(str(error))}") from None


def fields_of(benchmark: DataSet, row: Row) -> dict[str, Any]:
    """The fields of an adapted row by their canonical names.

    Raises:
      InputError: a column is missing, or holds a value of another kind.
    """
    fields: dict[str, Any] = {}
    for column in benchmark.columns:
        found = first_of(row.values, (column.name, *column.sources))
        if found is not None:
            fields[column.name] = _parsed(column, *found, row.place)
        elif column.default is Missing.REFUSED:
            raise missing(row, (column.name, *column.sources))
        elif column.default is not Missing.ABSENT:
            fields[column.name] = column.default
    return fields


def _parsed(column: Column, name: str, value: Any, place: str) -> Any:
    try:
        return column.parse(value)
    except ValueError as error:
        raise InputError(f"{place}: column {name} is {one_line(repr(value))[:50]}: {one_line(str(error))}") from None


def first_of(values: Values, names: Sequence[str]) -> tuple[str, Any] | None:
    """Name and value of the first of the columns that is there and not null."""
    return next(((name, values[name]) for name in names if values.get(name) is not None), None)


def missing(row: Row, names: Sequence[str]) -> InputError:
    """The error of a row that has none of the columns."""
    there = one_line(", ".join(row.values)) or "none"
    return InputError(f"{row.place}: no column {' or '.join(names)}; it has {there}")
