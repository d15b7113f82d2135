"""Batches for training and evaluation: a mixture of tasks by counts, shuffled, augmented, exactly resumable."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import grain
import numpy as np

from data_pipelines.augment import AugmentConfig, augment
from data_pipelines.collate import collate
from data_pipelines.grid import Example, ModelGrid
from fac_jax.types import Batch, InputError

READ = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)  # a batch takes a few ms; one thread keeps ahead


@dataclasses.dataclass(frozen=True)
class LoadingConfig:
    """What a batch is made of.

    Attributes:
      counts: rows of every task in each batch; their sum is B.
      seq_len: S, LLM positions of a row (`collate.budget` knows the least).
      windows: W, encoder windows of a batch.
      seed: of order and augmentation.
      augment: None leaves the audio as it is.
    """

    counts: Mapping[str, int]
    seq_len: int
    windows: int
    seed: int = 0
    augment: AugmentConfig | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A batch and what it was made of.

    Attributes:
      batch: what a step takes, in numpy.
      row_ids: ids of its examples, in the order of its rows.
      audio_seconds: seconds of audio in it, heard and spoken.
      tokens: LLM positions in it that are not padding.
    """

    batch: Batch
    row_ids: list[str]
    audio_seconds: float
    tokens: int


def load(
    tasks: Mapping[str, Sequence[Example]], config: LoadingConfig, model: ModelGrid
) -> grain.DatasetIterator[Loaded]:
    """Endless batches. Every task is gone through in a new order each epoch of its own.

    `get_state()` is JSON-able, and after `set_state()` with it the same batches follow.

    Args:
      tasks: examples of every task that `config.counts` names.
      config: mixture, static shapes, seed.
      model: grid and special ids.

    Raises:
      InputError: a task has no examples, or (from `next`) a batch exceeds the static shapes.
    """
    missing = [name for name in config.counts if not tasks.get(name)]
    if missing:
        raise InputError(f"no examples of the task {missing[0]!r} that the mixture names; there are {', '.join(tasks)}")
    if not config.counts or min(config.counts.values()) < 1:
        raise InputError(f"a mixture needs at least one row of each task it names: {dict(config.counts)}")
    sources = {name: _endless(tasks[name], config, config.seed + i) for i, name in enumerate(sorted(config.counts))}
    rows = sum(config.counts.values())

    def batch(number: int) -> Loaded:
        rows_of = ((sources[name], number * count + i) for name, count in config.counts.items() for i in range(count))
        examples = [cast(Example, source[index]) for source, index in rows_of]
        return _loaded(examples, rows, config.seq_len, config.windows, model)

    return iter(grain.MapDataset.range(np.iinfo(np.int64).max).map(batch).to_iter_dataset(READ))


def _endless(examples: Sequence[Example], config: LoadingConfig, seed: int) -> grain.MapDataset[Example]:
    shuffled = grain.MapDataset.source(examples).seed(seed).shuffle().repeat()
    if config.augment is None:
        return shuffled
    changes = config.augment
    return shuffled.map_with_index(lambda i, e: augment(e, changes, config.seed, i // len(examples)))


def one_epoch(examples: Sequence[Example], rows: int, seq_len: int, windows: int, model: ModelGrid) -> Iterator[Loaded]:
    """All examples once, in their order, for evaluation; the last batch is filled with padding rows.

    Raises:
      InputError: a batch exceeds the static shapes.
    """
    for start in range(0, len(examples), rows):
        yield _loaded(examples[start : start + rows], rows, seq_len, windows, model)


def _loaded(examples: Sequence[Example], rows: int, seq_len: int, windows: int, model: ModelGrid) -> Loaded:
    return Loaded(
        batch=collate(examples, rows, seq_len, windows, model),
        row_ids=[example.id for example in examples],
        audio_seconds=sum(example.audio_seconds for example in examples),
        tokens=sum(map(len, examples)),
    )
