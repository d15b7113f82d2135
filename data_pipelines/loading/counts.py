"""Batches for training and evaluation: a mixture of tasks by counts, shuffled, augmented, exactly resumable."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import grain
import jax
import numpy as np

from data_pipelines.augment.spec import AugmentConfig
from data_pipelines.loading.sources import Augmented, Source, as_it_is, endless
from fac_jax.batching.batch_stats import BatchStats, batch_stats
from fac_jax.batching.collate import collate, side_by_side
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.types import Batch, InputError, PreferenceBatch

READ = grain.ReadOptions(num_threads=1, prefetch_buffer_size=4)  # a batch takes a few ms; one thread keeps ahead


class Item(Protocol):
    """What a batch is made of: an `Example` or a `PairExample`."""

    @property
    def id(self) -> str:
        """Names the row."""
        ...

    @property
    def audio_seconds(self) -> float:
        """Seconds heard and spoken."""
        ...

    def __len__(self) -> int:
        """LLM positions."""
        ...


T = TypeVar("T", bound=Item)
Collate = Callable[[Sequence[T], int, int, int, ModelGrid], Batch | PreferenceBatch]


@dataclasses.dataclass(frozen=True)
class LoadingConfig:
    """What a batch is made of.

    Attributes:
      counts: rows of every task in each batch; their sum is B.
      seq_len: S, LLM positions of a row (`collate.budget` knows the least).
      windows: W, encoder windows of a batch.
      seed: of order and augmentation.
      augment: of examples; None leaves the audio as it is.
      micro_batches: so many batches are stacked into one, if more than 1.
    """

    counts: Mapping[str, int]
    seq_len: int
    windows: int
    seed: int = 0
    augment: AugmentConfig | None = None
    micro_batches: int = 1


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A batch and what it was made of.

    Attributes:
      batch: what a step takes, in numpy; every leaf has a leading axis of micro-batches where there are several.
      row_ids: ids of its examples, in the order of its rows.
      audio_seconds: seconds of audio in it, heard and spoken.
      tokens: LLM positions in it that are not padding.
      stats: what its contents need.
    """

    batch: Batch | PreferenceBatch
    row_ids: list[str]
    audio_seconds: float
    tokens: int
    stats: BatchStats


def load(
    tasks: Mapping[str, Sequence[T]], config: LoadingConfig, model: ModelGrid, collate: Collate = collate
) -> grain.DatasetIterator[Loaded]:
    """Endless batches. Every task is gone through in a new order each epoch of its own.

    `get_state()` is JSON-able, and after `set_state()` with it the same batches follow.

    Args:
      tasks: examples of every task that `config.counts` names.
      config: mixture, static shapes, seed.
      model: grid and special ids.
      collate: lays the items of a batch out.

    Raises:
      InputError: a task has no examples, or (from `next`) a batch exceeds the static shapes.
    """
    missing = [name for name in config.counts if not tasks.get(name)]
    if missing:
        raise InputError(f"no examples of the task {missing[0]!r} that the mixture names; there are {', '.join(tasks)}")
    if not config.counts or min(config.counts.values()) < 1:
        raise InputError(f"a mixture needs at least one row of each task it names: {dict(config.counts)}")
    make = as_it_is if config.augment is None else Augmented(config.augment, config.seed)
    names = sorted(config.counts)
    sources = {name: endless(Source(tasks[name], make), config.seed + i) for i, name in enumerate(names)}
    rows = sum(config.counts.values())

    def one(number: int) -> Loaded:
        rows_of = ((sources[name], number * count + i) for name, count in config.counts.items() for i in range(count))
        items = [cast(T, source[index]) for source, index in rows_of]
        return _loaded(items, rows, config.seq_len, config.windows, model, collate)

    def batch(number: int) -> Loaded:
        parts = config.micro_batches
        return one(number) if parts == 1 else stacked([one(number * parts + i) for i in range(parts)])

    return iter(grain.MapDataset.range(np.iinfo(np.int64).max).map(batch).to_iter_dataset(READ))


def one_epoch(
    items: Sequence[T], rows: int, seq_len: int, windows: int, model: ModelGrid, collate: Collate = collate
) -> Iterator[Loaded]:
    """All items once, in their order, for evaluation; the last batch is filled with padding rows.

    Raises:
      InputError: a batch exceeds the static shapes.
    """
    for start in range(0, len(items), rows):
        yield _loaded(items[start : start + rows], rows, seq_len, windows, model, collate)


def _loaded(items: Sequence[T], rows: int, seq_len: int, windows: int, model: ModelGrid, collate: Collate) -> Loaded:
    return loaded(collate(items, rows, seq_len, windows, model), items)


def loaded(batch: Batch | PreferenceBatch, items: Sequence[Item]) -> Loaded:
    """A batch with what its items say of it."""
    return _loaded_of(batch, [item.id for item in items], sum(item.audio_seconds for item in items))


def stacked(parts: Sequence[Loaded]) -> Loaded:
    """Micro-batches as one."""
    batches: list[Any] = [part.batch for part in parts]
    return _together(jax.tree.map(lambda *leaves: np.stack(leaves), *batches), parts)


def joined(parts: Sequence[Loaded]) -> Loaded:
    """Batches side by side as one (`collate.side_by_side`)."""
    batches: list[Any] = [part.batch for part in parts]
    if isinstance(batches[0], Batch):
        return _together(side_by_side(batches), parts)
    pairs = PreferenceBatch(
        batch=side_by_side([batch.batch for batch in batches]),
        tasks=np.concatenate([batch.tasks for batch in batches]),
        reference=np.concatenate([batch.reference for batch in batches]),
    )
    return _together(pairs, parts)


def _together(batch: Batch | PreferenceBatch, parts: Sequence[Loaded]) -> Loaded:
    return _loaded_of(batch, [name for part in parts for name in part.row_ids], sum(p.audio_seconds for p in parts))


def _loaded_of(batch: Batch | PreferenceBatch, row_ids: list[str], audio_seconds: float) -> Loaded:
    stats = batch_stats(batch.batch if isinstance(batch, PreferenceBatch) else batch)
    return Loaded(batch, row_ids, audio_seconds, int(stats.positions.sum()), stats)
