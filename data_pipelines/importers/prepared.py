"""Rows that `data_pipelines.prepare` has written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_pipelines.importers.catalogue import FEATURES, INFO
from data_pipelines.prepare.reading import read_prepared, splits_of
from data_pipelines.prepare.storage import AUDIO_TEXTS, ROW_TEXTS
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected

COLUMNS: Final = {*ROW_TEXTS, *AUDIO_TEXTS, "flac", "rest"}  # of every version of the schema


def read(path: Path, root: Path, split: str | None = None) -> Iterator[Record | Rejected]:
    """The rows of a split, or of all; `root` is not needed.

    Raises:
      InputError: see `read_prepared`.
    """
    for name in splits_of(path) if split is None else (split,):
        yield from read_prepared(path, name)


def is_prepared(path: Path) -> bool:
    """Whether a folder holds what `data_pipelines.prepare` writes."""
    try:
        described = json.loads((path / FEATURES).read_text(encoding="utf-8"))
        return (path / INFO).is_file() and set(described["featuresDict"]["features"]) >= COLUMNS
    except (OSError, ValueError, KeyError, TypeError):
        return False
