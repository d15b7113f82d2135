"""Packed batches: planned from sizes for all hosts alike, made by worker processes, exactly resumable."""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import grain
import numpy as np

from data_pipelines.loading.sources import Plan, Stream
from data_pipelines.loading.workers import in_workers
from fac_jax.batching.grid import ModelGrid
from fac_jax.batching.loaded import Loaded, joined, loaded, stacked
from fac_jax.batching.packing import Budget
from fac_jax.parallel.batches import host_shard
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Batch, InputError, PreferenceBatch

Collate: TypeAlias = Callable[[Sequence[Sequence[Any]], Budget, ModelGrid], Batch | PreferenceBatch]


@dataclasses.dataclass(frozen=True)
class Shares:
    """How the rows of a batch are divided.

    Attributes:
      micro_batches: stacked batches that the rows of one update make.
      hosts: processes that bring equal parts of every micro-batch.
      host: number of this one.
      parts: that the mesh cuts this host's part of a micro-batch into (`Batch.parts`).
    """

    micro_batches: int = 1
    hosts: int = 1
    host: int = 0
    parts: int = 1

    @classmethod
    def on(cls, layout: Layout | None, micro_batches: int = 1) -> "Shares":
        """Returns how a mesh divides the rows of a batch; None for one device."""
        if layout is None:
            return cls(micro_batches)
        shard = host_shard(layout)
        return cls(micro_batches, shard.hosts, shard.host, layout.batch_shards // shard.hosts)

    def rows(self, rows: int) -> list[list[int]]:
        """Returns this host's rows of every micro-batch of a batch with so many rows."""
        size = rows // (self.micro_batches * self.hosts)
        starts = [(micro * self.hosts + self.host) * size for micro in range(self.micro_batches)]
        return [list(range(start, start + size)) for start in starts]


@dataclasses.dataclass(frozen=True)
class WorkerConfig:
    """Who makes the items of batches; changes no batch.

    Attributes:
      workers: processes; 0 makes items in this one.
      threads: that make items, in each process.
      buffer: items that each process makes ahead.
    """

    workers: int = 0
    threads: int = 1
    buffer: int = 16


KEPT = 100_000  # numbers that a process keeps: more than are asked for out of order


def _mine(rows: Sequence[Sequence[int]], shares: Shares) -> list[int]:
    """The numbers of a batch's rows that this host needs, in their order."""
    return [number for micro in shares.rows(len(rows)) for row in micro for number in rows[row]]


class _Needed:
    """The items that this host needs, in the order of its batches; picklable, each process plans for itself."""

    def __init__(self, stream: Stream, budget: Budget, shares: Shares, state: dict[str, Any]) -> None:
        self._made_of = stream, budget, shares, state
        self._stream, self._shares = stream, shares
        self._lock = threading.Lock()  # several threads ask for items
        self._plan = Plan(stream, budget)
        self._plan.set_state(state)
        self._numbers: collections.OrderedDict[int, int] = collections.OrderedDict()
        self._count = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _Needed, self._made_of

    def number(self, index: int) -> int:
        """Returns the number in the stream of the item with this index here."""
        with self._lock:
            while self._count <= index:
                for number in _mine(self._plan.batch(), self._shares):
                    self._numbers[self._count] = number
                    self._count += 1
            while len(self._numbers) > KEPT:
                self._numbers.popitem(last=False)
            return self._numbers[index]

    def __call__(self, index: int) -> Any:
        place = self._stream.place(self.number(index))
        try:
            source = self._stream.sources[place.source]
            return source.make(source.rows[place.row], place.epoch)
        except InputError as error:  # a subclass of it does not cross processes
            raise InputError(str(error)) from None


class PackedBatches(grain.DatasetIterator[Loaded]):
    """Batches of one host, endless where the stream is.

    `get_state()` is JSON-able and the same on every host; after `set_state()` with it the same batches follow, whatever
    the number of hosts, shards, workers and micro-batches.
    """

    def __init__(
        self,
        stream: Stream,
        budget: Budget,
        model: ModelGrid,
        collate: Collate,
        shares: Shares = Shares(),
        config: WorkerConfig = WorkerConfig(),
    ) -> None:
        """Takes the shapes of the batch of one update, of all hosts and micro-batches together, as `budget`."""
        super().__init__()
        self._stream, self._budget, self._model, self._collate = stream, budget, model, collate
        self._shares, self._config = shares, config
        self._plan = Plan(stream, budget)
        self._items: grain.DatasetIterator[Any] | None = None
        self.rows: list[list[int]] = []  # numbers of every row of the batch that was returned last, of all hosts
        pieces = shares.micro_batches * shares.hosts * shares.parts
        self._part = dataclasses.replace(budget, rows=budget.rows // pieces)

    def __next__(self) -> Loaded:
        """Returns the next batch.

        Raises:
          StopIteration: a stream that has an end is over.
          InputError: an item cannot be made, or no row can hold it; names it.
        """
        if self._items is None:
            self._items = iter(self._pipeline(self._plan.get_state()))
        self.rows = rows = self._plan.batch()
        items, batches = [], []
        for micro in self._shares.rows(len(rows)):
            made = [[next(self._items) for _ in rows[row]] for row in micro]
            items += [item for row in made for item in row]
            size = self._part.rows
            cut = [made[i : i + size] for i in range(0, len(made), size)]
            batches.append(joined([self._collate(part, self._part, self._model) for part in cut]))
        return loaded(stacked(batches), items)

    def get_state(self) -> dict[str, Any]:
        """Returns what the next batch follows from."""
        return {"sources": self._sizes(), **self._plan.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where `get_state` was called.

        Raises:
          InputError: the state is that of other sources.
        """
        if state["sources"] != self._sizes():
            raise InputError(
                f"the data changed since the checkpoint: rows by source were {state['sources']}, are {self._sizes()}; "
                "restore the data, or take another workdir"
            )
        self._stop()
        self._plan.set_state(state)

    def close(self) -> None:
        """Ends the processes that make items."""
        self._stop()
        super().close()

    def _sizes(self) -> dict[str, int]:
        return {name: len(source.rows) for name, source in self._stream.sources.items()}

    def _stop(self) -> None:
        if self._items is not None:
            self._items.close()
            self._items = None

    def _count(self, state: dict[str, Any]) -> int:
        """Items that this host needs from a state to the end of the stream."""
        if self._stream.size is None:
            return np.iinfo(np.int64).max
        plan, count = Plan(self._stream, self._budget), 0
        plan.set_state(state)
        with contextlib.suppress(StopIteration):
            while True:
                count += len(_mine(plan.batch(), self._shares))
        return count

    def _pipeline(self, state: dict[str, Any]) -> grain.IterDataset:
        config = self._config
        read = grain.ReadOptions(num_threads=config.threads, prefetch_buffer_size=config.buffer)
        needed = _Needed(self._stream, self._budget, self._shares, state)
        items = grain.MapDataset.range(self._count(state)).map(needed).to_iter_dataset(read)
        return in_workers(items, config.workers, config.buffer) if config.workers else items
