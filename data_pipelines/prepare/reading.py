"""Reading of prepared rows, one by one in any order."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.paths import local_path
from data_pipelines.prepare import flac
from data_pipelines.prepare.storage import INFO, VERSION, to_record
from data_pipelines.records.record import Record
from fac_jax.types import InputError


class PreparedRecords(Sequence[Record]):
    """The rows of a split. A row is read and its audio decoded when it is indexed. Can be pickled."""

    def __init__(self, rows: Sequence[Any], decode: Callable[[bytes], np.ndarray] = flac.decode) -> None:
        """Takes rows as tfds returns them, and a decoder of FLAC bytes."""
        self._rows, self._decode = rows, decode

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """A row, or the list of a slice's rows."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        return to_record(self._rows[index % len(self)], self._decode)

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))


def read_prepared(
    folder: str | os.PathLike[str], split: str, decode: Callable[[bytes], np.ndarray] = flac.decode
) -> PreparedRecords:
    """The rows of a split in the order of the shards.

    Records are those that were prepared, except for their audio: waves have 16 bits at 16 kHz, file bytes are dropped,
    and spoken replies have their tokens.

    Args:
      folder: that `data_pipelines.prepare` has written.
      split: name.
      decode: FLAC -> wave; `flac.silence` where only lengths matter.

    Raises:
      InputError: the folder was not prepared, not to its end, or under another version of the schema, or has no such
        split.
    """
    builder = _builder(folder)
    if split not in builder.info.splits:
        raise InputError(f"{folder}: no split {split!r}; it has {', '.join(builder.info.splits)}")
    if not builder.info.splits[split].num_examples:  # which tfds does not read
        return PreparedRecords((), decode)
    rows = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]  (a decorator hides the signature)
    return PreparedRecords(rows, decode)


def splits_of(folder: str | os.PathLike[str]) -> list[str]:
    """Names of the splits of a prepared folder; raises as `read_prepared`."""
    return list(_builder(folder).info.splits)


def _builder(folder: str | os.PathLike[str]) -> tfds.core.DatasetBuilder:
    local_path(folder, "shards are read by array_record, which needs local files")
    if not (Path(folder) / INFO).is_file():
        raise InputError(f"{folder}: no {INFO}: run python -m data_pipelines.prepare to its end")
    builder = tfds.builder_from_directory(folder)
    stored = str(builder.info.version)
    if stored.split(".")[0] != VERSION.split(".")[0]:
        raise InputError(f"{folder}: prepared under schema {stored}, this version reads {VERSION}: prepare it again")
    return builder
