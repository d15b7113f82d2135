"""Rows of a benchmark and their audio, which is read from disk when it is asked for and not before."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow
import pyarrow.parquet
from jaxtyping import Float32

from fac_jax.audio import io
from fac_jax.types import InputError

Wave: TypeAlias = Float32[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class AudioFile:
    """An audio file on disk, which may be absent until it is read."""

    path: Path

    def read(self, rate: int = io.RATE) -> tuple[Wave, int]:
        """Returns the mono wave float32 `[N]` at `rate` Hz, and that rate; raises as `fac_jax.audio.io.read`."""
        return io.load(self.path, rate), rate


@dataclasses.dataclass(frozen=True)
class AudioCell:
    """Audio in a cell of a parquet file: a struct of `bytes` and `path`, as Hugging Face writes it.

    Attributes:
      file: the parquet file.
      column: name of the column.
      group: number of the row group, from 0.
      row: number of the row in its group, from 0.
    """

    file: Path
    column: str
    group: int
    row: int

    def read(self, rate: int = io.RATE) -> tuple[Wave, int]:
        """Returns the mono wave float32 `[N]` at `rate` Hz, and that rate; raises as `fac_jax.audio.io.decode`.

        A cell without bytes names a file, which is looked for beside the parquet file.
        """
        cell = _audio_column(self.file, self.column, self.group)[self.row].as_py() or {}
        name = f"{self.file}, group {self.group}, row {self.row}, column {self.column}"
        if cell.get("bytes") is not None:
            return io.decode(cell["bytes"], name, rate).wave, rate
        if not cell.get("path"):
            raise io.AudioError("missing", f"no audio in {name}")
        return io.load(self.file.parent / cell["path"], rate), rate


# Rows are mostly read in order, so that one group at a time is enough; it may hold hundreds of megabytes.
@functools.lru_cache(maxsize=1)
def _audio_column(file: Path, column: str, group: int) -> pyarrow.ChunkedArray:
    with file.open("rb") as opened:
        return pyarrow.parquet.ParquetFile(opened).read_row_group(group, columns=[column]).column(column)


AudioRef: TypeAlias = AudioFile | AudioCell


@dataclasses.dataclass(frozen=True)
class Item:
    """One row of a benchmark.

    Attributes:
      id: name of the row, unique in its set and the same in every run.
      audio: what the model hears; None where the row comes from a file of predictions without audio.
      fields: the row's fields by their canonical names, which the scorer of the benchmark reads.
    """

    id: str
    audio: AudioRef | None
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class ItemSet:
    """The rows of a benchmark that were found on disk.

    Attributes:
      benchmark: name of the benchmark, such as "voicebench/ifeval".
      items: the rows in the order of the files.
      rows: number of rows in the files, those that are left out included.
      expected: number of rows of the official set; None where it is not known.
      left_out: ids of the rows that are not in `items`, and why.
      revision: the data set's revision on Hugging Face, where the download kept it.
    """

    benchmark: str
    items: tuple[Item, ...]
    rows: int
    expected: int | None
    left_out: Mapping[str, str]
    revision: str | None


def require_audio(items: Iterable[Item]) -> None:
    """Checks that the audio files of all rows exist, without reading them.

    Raises:
      InputError: a row has no audio, or its file does not exist; the first such row is named.
    """
    for item in items:
        if item.audio is None:
            raise InputError(f"row {item.id} has no audio")
        if isinstance(item.audio, AudioFile) and not item.audio.path.is_file():
            raise InputError(f"{item.audio.path} not found: the audio of row {item.id}")
