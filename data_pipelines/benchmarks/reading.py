"""Rows of text files: JSON lines, JSON arrays and tables; and where the files lie that they name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.benchmarks.base import Row
from data_pipelines.importers.manifest import table_rows
from data_pipelines.importers.rows import json_rows
from data_pipelines.records.reject import Rejected
from fac_jax.types import InputError

TABLES = (".csv", ".tsv")


def read_text(files: Sequence[Path]) -> Iterator[Row]:
    r"""Yields the rows of .jsonl, .json, .csv and .tsv files; JSON lines end at "\n" only.

    Raises:
      InputError: a file cannot be read, or a line of it is malformed; the line is named.
    """
    for file in files:
        word = "row" if file.suffix == ".json" else "line"
        for found in table_rows(file) if file.suffix in TABLES else json_rows(file):
            if isinstance(found, Rejected):
                raise refused(found, word)
            number, values = found
            yield Row(values, f"{file}, {word} {number}", file.parent)


def refused(bad: Rejected, word: str = "line") -> InputError:
    """The error of a row that a reader of `data_pipelines.importers` rejects; `word` is what it counts."""
    return InputError(f"{bad.file}, {word} {bad.line}: {bad.reason.meaning}: {bad.detail}")


def located(named: str, *folders: Path) -> Path:
    """The file that a row names: the first that exists of the path and its ends, in each of the folders.

    Ends are tried because data sets are moved after their files were written: of "out/ifeval/0.wav" also
    "ifeval/0.wav" and "0.wav". If none exists, the whole path in the first folder is returned.
    """
    parts = Path(named.replace("\\", "/")).parts
    places = [folder.joinpath(*parts[start:]) for folder in folders for start in range(len(parts))]
    return next((place for place in places if place.is_file()), folders[0].joinpath(*parts))
