"""Samples for the viewer out of any format that the importers read, and out of prepared folders."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_pipelines.importers.registry import SPLIT, format_of, read
from data_pipelines.records.record import Record, to_example
from data_pipelines.records.reject import Rejected
from data_pipelines.records.validate import Limits, validate
from data_pipelines.view.samples import Reader, Sample
from fac_jax.batching.conversation import Conversation
from fac_jax.types import PREFERENCE_TASKS, InputError

ENDLESS = int(np.iinfo(np.int32).max)


def record_samples(
    path: Path,
    rows: int,
    task: str = "",
    format: str | None = None,
    root: str | None = None,
    view: str = "asr",
    split: str | None = None,
    reader: Reader | None = None,
) -> tuple[list[Sample], list[Rejected]]:
    """The first good rows of a path in their order, and the bad ones before the last of them.

    Args:
      path: file or folder of users' rows, or a prepared folder.
      rows: how many samples at most; a pair makes two.
      task: of preference pairs; "" for all rows.
      format: key of `FORMATS`; None guesses it.
      root: where audio paths that are not absolute start.
      view: one of `importers.registry.VIEWS[format]`.
      split: of a folder of several; None for "train" of a prepared one, else for all.
      reader: whose codebook the rows must fit; None takes any.

    Raises:
      InputError: the path cannot be read, or has no such rows.
    """
    if task not in ("", *PREFERENCE_TASKS):
        raise InputError(f"unknown task {task!r} of {path}; known: {', '.join(PREFERENCE_TASKS)}")
    name = format_of(path, format)
    of = "train" if name == "prepared" and split is None else split
    units = ENDLESS if reader is None else reader.grid.units
    chosen: list[Sample] = []
    refused: list[Rejected] = []
    for row in validate(read(path, name, root, view, of), Limits(context=ENDLESS, units=units)):
        if isinstance(row, Rejected):
            refused.append(row)
            continue
        chosen += _samples(row, task)
        if len(chosen) >= rows:
            break
    if not chosen:
        where = f" of the split {of!r}" if name in SPLIT and of else ""
        bad = f"; {len(refused)} cannot be trained on, the first: {refused[0].detail}" if refused else ""
        raise InputError(f"{path}: no row{where} to look at" + (f" has the task {task!r}" if task else "") + bad)
    return chosen[:rows], refused


def _samples(record: Record, task: str) -> Iterator[Sample]:
    where = f"{Path(record.file).name}:{record.line}"
    heard = [f'"{audio.transcript}"' for audio in record.audios if audio.transcript]
    example = to_example(record)
    if isinstance(example, Conversation):
        if not task:
            yield Sample(example, ", ".join([where, *heard]), record.id)
    elif task in ("", example.task):
        for side in (example.chosen, example.rejected):
            yield Sample(side, ", ".join([example.task, where, *heard]), record.id)
