"""The columns of the toy world's data set, and its rows read back."""

import functools
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.paths import stored_columns
from data_pipelines.worlds.schema import PairRow, Row
from fac_jax.types import PREFERENCE_TASKS, InputError

TEXTS: Final = ("id", "kind", "question", "instruction", "reply", "rejected", "voice")
AUDIOS: Final = ("user_audio", "reply_audio", "rejected_audio")
QUIET: Final = 1000.0  # dB, the signal-to-noise ratio that stands for no noise
FULL_SCALE: Final = np.float32(32768)


def features() -> tfds.features.FeaturesDict:
    """Returns the columns: texts, int16 waves at 16 kHz (empty where there is none), and the noise of the question.

    The rows of both kinds share them: `kind` is the kind of a `Row`, or the preference task of a `PairRow`.
    """
    found: dict[str, Any] = {name: tfds.features.Text() for name in TEXTS}
    found |= {name: tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes") for name in AUDIOS}
    return tfds.features.FeaturesDict({**found, "snr_db": np.float32})


def is_toy_world(folder: Path) -> bool:
    """Returns whether a folder holds a data set of `build.build`."""
    return stored_columns(folder) == {*TEXTS, *AUDIOS, "snr_db"}


def read_rows(
    folder: str | os.PathLike[str], split: str, kinds: Collection[str] | None = None
) -> Iterator[Row | PairRow]:
    """Reads the rows of a stored split (`schema.SPLITS`, `schema.PAIR_SPLITS`) in the order in which they were made.

    With `kinds`, reads only the rows of these kinds.

    Raises:
      InputError: the folder holds no toy world, or it has no such split.
    """
    path = Path(folder)
    if not is_toy_world(path):
        raise InputError(f"{folder}: not a data set of the toy world; data_pipelines.worlds.build makes one")
    builder = _builder(path)
    if split not in builder.info.splits:
        raise InputError(f"{folder}: the toy world has no split {split!r}; it has {', '.join(builder.info.splits)}")
    stored = _stored(path, split)
    if kinds is None:
        return map(to_row, stored)
    return (to_row(stored[number]) for number, kind in enumerate(_kinds(path, split)) if kind in kinds)


@functools.lru_cache(maxsize=8)
def _builder(folder: Path) -> tfds.core.DatasetBuilder:
    return tfds.builder_from_directory(folder)


def _stored(folder: Path, split: str) -> Sequence[Mapping[str, Any]]:
    return _builder(folder).as_data_source(split)  # pyright: ignore  (a decorator hides the signature)


@functools.lru_cache(maxsize=8)
def _kinds(folder: Path, split: str) -> list[str]:
    """The kind of every row. A split is read by many tasks, and decoding a row takes most of the time."""
    return [columns["kind"].decode() for columns in _stored(folder, split)]


def to_row(columns: Mapping[str, Any]) -> Row | PairRow:
    """Turns the columns of a stored row into the row; its waves become float32 in [-1, 1)."""
    texts = {name: columns[name].decode() for name in TEXTS}
    kind, reply, rejected = (texts.pop(name) for name in ("kind", "reply", "rejected"))
    asked, said, other = (columns[name] / FULL_SCALE if len(columns[name]) else None for name in AUDIOS)
    if kind not in PREFERENCE_TASKS:
        del texts["instruction"]
        return Row(kind=kind, reply=reply, user_audio=asked, assistant_audio=said, **texts)
    assert asked is not None, "the question of every pair is spoken"
    snr = None if columns["snr_db"] == QUIET else float(columns["snr_db"])
    waves = {"user_audio": asked, "chosen_audio": said, "rejected_audio": other}
    return PairRow(task=kind, chosen=reply, rejected=rejected, snr_db=snr, **waves, **texts)
