"""Data sets of Hugging Face on disk: parquet with an audio column, or a folder of audio with a table of metadata."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from data_pipelines.benchmarks.base import Layout, Row
from data_pipelines.benchmarks.items import AudioCell
from data_pipelines.benchmarks.reading import read_text
from data_pipelines.importers.parquet import columns
from data_pipelines.records.reject import one_line
from fac_jax.types import InputError

SHARD = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5}).*\.parquet")


def layouts(folder: str, split: str) -> tuple[Layout, ...]:
    """The layouts of a split whose files lie in `folder` below the data set's root ("" for the root itself).

    `split` is a pattern. The third is the layout of the branch `refs/convert/parquet`.
    """
    at = f"{folder}/" if folder else ""
    parquet = (f"data/{split}-*", f"{split}-*", f"{split}/[0-9]*", f"default/{split}/[0-9]*", split)
    metadata = ("metadata.jsonl", "metadata.csv", f"{split}/metadata.jsonl", f"{split}/metadata.csv")
    return (
        *(Layout(f"{at}{name}.parquet", read_parquet) for name in parquet),
        *(Layout(f"{at}{name}", read_text) for name in metadata),
    )


def read_parquet(files: Sequence[Path]) -> Iterator[Row]:
    """Yields the rows of parquet files; audio stays on disk as an `AudioCell`.

    Raises:
      InputError: a file cannot be read, or a shard of those that the names count is missing.
    """
    _check_shards(files)
    for file in files:
        yield from _rows(file)


def _check_shards(files: Sequence[Path]) -> None:
    """Raises InputError that names the first missing file of "NAME-00000-of-00003.parquet" and so on."""
    numbers: dict[tuple[Path, str, str], set[str]] = {}
    for file in files:
        if found := SHARD.fullmatch(file.name):
            numbers.setdefault((file.parent, found["stem"], found["count"]), set()).add(found["number"])
    for (folder, stem, count), there in numbers.items():
        for number in (f"{n:05}" for n in range(int(count))):
            if number not in there:
                raise InputError(f"{folder / stem}-{number}-of-{count}.parquet not found; finish the download")


def _rows(file: Path) -> Iterator[Row]:
    names = columns(file)
    number = 0
    try:
        with file.open("rb") as opened:
            parquet = pyarrow.parquet.ParquetFile(opened)
            audio = next((name for name in names if _is_audio(parquet.schema_arrow.field(name).type)), None)
            wanted = [name for name in names if name != audio]
            for group in range(parquet.num_row_groups):
                for place, values in enumerate(parquet.read_row_group(group, columns=wanted).to_pylist()):
                    number += 1
                    cell = AudioCell(file, audio, group, place) if audio else None
                    yield Row(_without_nulls(values), f"{file}, row {number}", file.parent, cell)
    except (OSError, pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
        raise InputError(f"{file}: cannot be read after row {number}: {one_line(str(error))}") from None


def _is_audio(kind: pyarrow.DataType) -> bool:
    return isinstance(kind, pyarrow.StructType) and kind.get_field_index("bytes") >= 0


def _without_nulls(value: Any) -> Any:
    """The value without the keys of objects that are null: all objects of a column have the same keys in parquet."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value
