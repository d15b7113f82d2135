"""The toy world (`data_pipelines.worlds.build`) as records: one view of one split."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from data_pipelines.records.record import Record
from data_pipelines.worlds.storage import read_rows
from data_pipelines.worlds.views import VIEWS
from fac_jax.types import InputError


def read(path: Path, root: Path, view: str = "asr", split: str | None = None) -> Iterator[Record]:
    """Reads the records of a view, in a fixed order.

    Args:
      path: the folder of the data set.
      root: not needed; the waves are stored with the rows.
      view: key of `worlds.views.VIEWS`.
      split: "train", "dev" or "test"; None for "train".

    Raises:
      InputError: the folder holds no toy world, the view has no such split, or the split has no row of the view.
    """
    name, chosen = split or "train", VIEWS[view]
    if name not in chosen.splits:
        raise InputError(f"{path}: the view {view!r} has no split {name!r}; it has {', '.join(chosen.splits)}")
    number = 0
    for number, record in enumerate(chosen.records(read_rows(path, chosen.splits[name])), 1):
        yield dataclasses.replace(record, file=str(path), line=number)
    if not number:
        raise InputError(f"{path}: the split {name!r} has no row of the view {view!r}")
