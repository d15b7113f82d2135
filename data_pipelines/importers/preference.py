"""Spoken preference rows: the release's SFT row, ending with the user, and two replies.

`chosen` and `rejected` are messages of the assistant, `chosen_audio` and `rejected_audio` the audio entry of each (or a
list that holds it; left out for a text reply), `task` is one of `fac_jax.types.PREFERENCE_TASKS`.
"""

from collections.abc import Iterator
from pathlib import Path

from data_pipelines.importers import release
from data_pipelines.importers.rows import JsonRow, json_rows, parsed
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError


def read(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the pairs of a file; `root` is the folder of relative audio paths. `release.export` writes them again.

    Raises:
      InputError: the file cannot be read.
    """

    def parse(row: JsonRow, number: int) -> Record:
        missing = [key for key in ("chosen", "rejected", "task") if row.get(key) is None]
        if missing:
            raise RejectedError(Reason.MISSING_KEY, f"key {missing[0]!r} is missing")
        return release.record_of(row, path, number, root)

    return parsed(path, json_rows(path), parse)
