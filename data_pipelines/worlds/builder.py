"""A data set of spoken conversations, written by tensorflow-datasets as array_record without TensorFlow."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from filelock import FileLock

from data_pipelines.worlds import arithmetic
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.schema import SPLITS, Row, RowSpec
from data_pipelines.worlds.synthesis import Job, speak_all
from fac_jax.types import InputError

TEXTS = ("id", "kind", "question", "reply", "voice")
AUDIOS = ("user_audio", "assistant_audio")  # int16 at 16 kHz, empty when absent


class SpokenArithmetic(tfds.core.GeneratorBasedBuilder):
    """Speaks the rows of `worlds.arithmetic`."""

    VERSION = tfds.core.Version("1.2.0")

    def __init__(self, world: WorldConfig, processes: int = 2, **kwargs: Any) -> None:
        self._world = world
        self._processes = processes
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        text = {name: tfds.features.Text() for name in TEXTS}
        audio = {name: tfds.features.Tensor(shape=(None,), dtype=np.int16, encoding="bytes") for name in AUDIOS}
        return self.dataset_info_from_configs(
            description=f"Spoken sums and differences, and text facts of a wider world: {_plain(self._world)}",
            features=tfds.features.FeaturesDict({**text, **audio}),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, dict]]]:
        rows = arithmetic.rows(self._world)
        jobs = sorted({job for split in SPLITS for row in rows[split] for job in _jobs(row) if job})
        waves = dict(zip(jobs, speak_all(jobs, self._processes), strict=True))
        return {split: self._generate_examples(rows[split], waves) for split in SPLITS}

    def _generate_examples(
        self, rows: Sequence[RowSpec], waves: Mapping[Job, np.ndarray]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        silence = np.empty(0, np.int16)
        for row in rows:
            user, assistant = (waves[job] if job else silence for job in _jobs(row))
            texts = {name: getattr(row, name) for name in TEXTS if name != "voice"}
            voice = row.user_voice.name if row.user_voice else ""
            yield row.id, {**texts, "voice": voice, "user_audio": user, "assistant_audio": assistant}


def _plain(config: Any) -> str:
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def _jobs(row: RowSpec) -> tuple[Job | None, Job | None]:
    """What is spoken by the user and by the assistant."""
    return (
        (row.question, row.user_voice) if row.user_voice else None,
        (row.reply, row.assistant_voice) if row.assistant_voice else None,
    )


def prepared(
    kind: Callable[..., tfds.core.GeneratorBasedBuilder],
    config: Mapping[str, Any],
    data_dir: str | os.PathLike[str],
    processes: int,
) -> tfds.core.GeneratorBasedBuilder:
    """A builder whose data set is made, in a folder of its own under `data_dir`, or was made before.

    It is written beside and renamed when complete, so that what loads is whole.

    Args:
      kind: class of the builder, called with the config's values, `processes` and `data_dir`.
      config: frozen dataclasses that define the data set, by the builder's argument.
      data_dir: of all data sets.
      processes: that speak.
    """
    defined = [_plain(value) for value in config.values()]
    folder = Path(data_dir) / hashlib.sha256("".join(defined).encode()).hexdigest()[:12]
    builder = functools.partial(kind, **config, processes=processes, data_dir=folder)
    there = builder()
    if there.data_path.exists():
        return there
    tfds.disable_progress_bar()
    folder.mkdir(parents=True, exist_ok=True)
    # tfds prints that it downloads, which it does not. Runs of a sweep that start together wait for the first; a
    # builder knows the splits that were there when it was constructed, so each is constructed anew after its wait.
    with FileLock(folder / "making.lock"), contextlib.redirect_stdout(io.StringIO()):
        made = builder()
        made.download_and_prepare()
    return made


def build(config: WorldConfig, data_dir: str | os.PathLike[str], processes: int = 2) -> tfds.core.GeneratorBasedBuilder:
    """Makes the data set of a world (`prepared`); splits are those of `schema.SPLITS`.

    Raises:
      InputError: the world's configuration cannot be met (`arithmetic.rows`), or names a voice that does not exist.
    """
    return prepared(SpokenArithmetic, {"world": config}, data_dir, processes)


def read(builder: tfds.core.DatasetBuilder, split: str) -> list[Row]:
    """The rows of a split, in the order of the files.

    Raises:
      InputError: the data set has no such split.
    """
    return [row_of(record) for record in records(builder, split)]


def records(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[Mapping[str, Any]]:
    """The records of a split, in the order of the files.

    Raises:
      InputError: the data set has no such split.
    """
    if split not in builder.info.splits:
        known = ", ".join(builder.info.splits)
        raise InputError(f"data set {builder.info.full_name} has no split {split!r}; it has {known}")
    return iter(builder.as_data_source(split))  # pyright: ignore[reportCallIssue]  (a decorator hides the signature)


def row_of(record: Mapping[str, Any]) -> Row:
    """A record as the row that it was written from."""
    fields: dict[str, Any] = {name: record[name].decode() for name in TEXTS}
    fields |= {name: record[name].astype(np.float32) / 32768 if len(record[name]) else None for name in AUDIOS}
    return Row(**fields)
