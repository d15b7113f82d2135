"""Packed batches for training: a mixture by weights, made in workers, packed under fixed budgets, exactly resumable."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import grain
import jax
import numpy as np

from data_pipelines.loading import device_mel
from data_pipelines.loading.counts import Item, Loaded, joined, loaded, stacked
from data_pipelines.loading.device_mel import Heard
from data_pipelines.loading.sources import Source, mixed, shares
from data_pipelines.loading.workers import in_workers
from fac_jax.batching.collate import collate_examples
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.packing import Budget, ItemSize, enough, item_size, pack
from fac_jax.parallel.shards import ALONE, HostShard
from fac_jax.types import Batch, InputError, PreferenceBatch

CollatePacked: TypeAlias = Callable[[Sequence[Sequence[Any]], Budget, ModelGrid], Batch | PreferenceBatch]
Place: TypeAlias = jax.sharding.Sharding


@dataclasses.dataclass(frozen=True)
class PackedConfig:
    """What a packed batch is made of; see docs/data_loading.md.

    Attributes:
      rows: B on each host; pairs of rows for preferences.
      seq_len: S, LLM positions of a row.
      windows: W, encoder windows of a host's batch.
      parts: rows and windows are divided into so many parts, each packed by itself (`Batch.parts`): those that a mesh
        cuts a host's batch into.
      mixture: weight of every source.
      temperature: of the mixture (`sources.shares`); None for weights alone.
      segments: most conversations of a row; preferences size it.
      mel: where log-mels are made; on the device, sources bring waveform frames (`lazy.Encode`).
      workers: processes that make items; 0 makes them in this one.
      threads: that make items, in each process.
      buffer: items that each process makes ahead.
      device_buffer: batches that are on the device, or under way to it, ahead of the step; 0 leaves them on the host.
      seed: of the order.
      micro_batches: so many batches are stacked into one, if more than 1.
    """

    rows: int
    seq_len: int
    windows: int
    mixture: Mapping[str, float]
    parts: int = 1
    temperature: float | None = None
    segments: int | None = None
    mel: Literal["host", "device"] = "host"
    workers: int = 0
    threads: int = 1
    buffer: int = 16
    device_buffer: int = 2
    seed: int = 0
    micro_batches: int = 1

    @property
    def budget(self) -> Budget:
        """Static shapes of a part of a batch."""
        return Budget(self.rows // self.parts, self.seq_len, self.windows // self.parts, self.segments)


def load_packed(
    sources: Mapping[str, Source],
    config: PackedConfig,
    model: ModelGrid,
    collate: CollatePacked = collate_examples,
    share: HostShard = ALONE,
    place: Place | None = None,
) -> grain.DatasetIterator[Loaded]:
    """Endless packed batches of one host. Every source is gone through in a new order each epoch of its own.

    `get_state()` is JSON-able, and after `set_state()` with it the same batches follow, whatever the workers, threads
    and buffers. A state of another number of hosts goes through `hosts.resharded`.

    Args:
      sources: items of each have an `id`, a length, `mels` and `audio_seconds`; at least those of the mixture.
      config: mixture, static shapes, workers.
      model: grid and special ids.
      collate: lays the items of every row out.
      share: which host this is.
      place: sharding of the batches' leaves; None for the default device.

    Raises:
      InputError: a mixture that cannot be (`sources.shares`), a budget that holds nothing; from `next`, an item that no
        batch can hold or that cannot be made; from `set_state`, a state of other sources or hosts.
    """
    for name in ("rows", "seq_len", "parts", "micro_batches", "threads", "buffer"):
        if getattr(config, name) < 1:
            raise InputError(f"data: {name} is {getattr(config, name)}; it is at least 1")
    for name in ("rows", "windows"):
        if getattr(config, name) % config.parts:
            raise InputError(f"data: {name} is {getattr(config, name)}, not divisible by the {config.parts} parts")
    if config.parts > 1 and config.mel == "device":
        raise InputError('data: mel "device" makes the log-mels of a batch of one part; take mel "host"')
    sizes = {name: len(source.rows) for name, source in sources.items()}
    parts = shares(config.mixture, sizes, config.temperature)
    stream = mixed(sources, parts, config.seed)
    batches = _Packed(stream, {name: sizes[name] for name in sorted(parts)}, config, model, collate, share)
    placed = batches.map(lambda made: made.on_device(place) if config.device_buffer else made.on_host())
    if config.device_buffer:
        placed = grain.experimental.ThreadPrefetchIterDataset(placed, prefetch_buffer_size=config.device_buffer)
    return iter(placed)


@dataclasses.dataclass(frozen=True, eq=False)
class _Made:
    """A batch in numpy, and the samples of what is heard in it where the device makes the mel."""

    loaded: Loaded
    heard: Heard | None

    def on_host(self) -> Loaded:
        """In numpy, but for a mel that the device makes."""
        return self.loaded if self.heard is None else self.on_device(None)

    def on_device(self, place: Place | None) -> Loaded:
        """With every leaf where it is wanted."""
        if self.heard is None:
            batch = jax.device_put(self.loaded.batch, place)
        else:
            batch = device_mel.with_mel(self.loaded.batch, self.heard, place)
        return dataclasses.replace(self.loaded, batch=batch)


@dataclasses.dataclass(frozen=True, eq=False)
class _From:
    """The item at any place of a host's stream, which begins with items that were left waiting."""

    stream: grain.MapDataset
    share: HostShard
    drawn: int
    waiting: tuple[int, ...]

    def number(self, index: int) -> int:
        """Its number in the stream of all hosts."""
        if index < len(self.waiting):
            return self.waiting[index]
        return self.share.number(self.drawn + index - len(self.waiting))

    def __call__(self, index: int) -> Any:
        """The item."""
        try:
            return self.stream[self.number(index)]
        except InputError as error:  # as it is, or a subclass of it that does not cross processes
            raise InputError(str(error)) from None


class _Packed(grain.IterDataset[_Made]):
    """Packs what workers make.

    grain's FirstFitPackIterDataset pads arrays feature by feature, each with a length of its own in a row. Here windows
    are a budget of all rows together, frame indices move with them, and a pair fills two rows; and the place of an item
    must not depend on how many workers made it. So packing is ours, behind `mp_prefetch`, which keeps the order.
    """

    def __init__(
        self,
        stream: grain.MapDataset,
        sizes: Mapping[str, int],
        config: PackedConfig,
        model: ModelGrid,
        collate: CollatePacked,
        share: HostShard,
    ) -> None:
        super().__init__()
        self.stream, self.sizes, self.config = stream, dict(sizes), config
        self.model, self.collate, self.share = model, collate, share

    def __iter__(self) -> "_PackedIterator":
        return _PackedIterator(self)


@dataclasses.dataclass(frozen=True, eq=False)
class _Waiting:
    """An item, its number in the stream and what it sizes."""

    number: int
    item: Any
    size: ItemSize


class _PackedIterator(grain.DatasetIterator[_Made]):
    """Its state is the numbers of the waiting items and how many were drawn: both are made again on resume."""

    def __init__(self, data: _Packed) -> None:
        super().__init__()
        self._data, self._items = data, None
        self._place = _From(data.stream, data.share, 0, ())
        self._waiting: list[_Waiting] = []  # the oldest first
        self._taken = 0  # from `_items`

    def __next__(self) -> _Made:
        self._assert_not_closed()
        if self._items is None:
            self._items = iter(self._pipeline())
            for _ in self._place.waiting:
                self._draw()
        parts = [self._batch() for _ in range(self._data.config.micro_batches)]
        if len(parts) == 1:
            return parts[0]
        heard = [part.heard for part in parts if part.heard is not None]
        return _Made(stacked([part.loaded for part in parts]), device_mel.stacked(heard) if heard else None)

    def get_state(self) -> dict[str, Any]:
        place, share = self._place, self._data.share
        drawn = place.drawn + max(0, self._taken - len(place.waiting))
        waiting = list(place.waiting) if self._items is None else [one.number for one in self._waiting]
        here = {"host": share.host, "hosts": share.hosts, "base": place.share.base}
        return {"sources": self._data.sizes, **here, "drawn": drawn, "waiting": waiting}

    def set_state(self, state: dict[str, Any]) -> None:
        share = self._data.share
        if state["sources"] != self._data.sizes:
            raise InputError(
                f"the data changed since the checkpoint: rows by source were {state['sources']}, are "
                f"{self._data.sizes}; restore the data, or take another workdir"
            )
        if (state["host"], state["hosts"]) != (share.host, share.hosts):
            raise InputError(
                f"the data's state is that of host {state['host']} of {state['hosts']}, this is host {share.host} of "
                f"{share.hosts}: divide the states of all hosts anew with fac_jax.parallel.shards.resharded"
            )
        self._stop()
        here = dataclasses.replace(share, base=state["base"])
        self._place = _From(self._data.stream, here, state["drawn"], tuple(state["waiting"]))
        self._waiting, self._taken = [], 0

    def close(self) -> None:
        self._stop()
        super().close()

    def _stop(self) -> None:
        if self._items is not None:
            self._items.close()
            self._items = None

    def _pipeline(self) -> grain.IterDataset:
        config = self._data.config
        read = grain.ReadOptions(num_threads=config.threads, prefetch_buffer_size=config.buffer)
        items = grain.MapDataset.range(np.iinfo(np.int64).max).map(self._place).to_iter_dataset(read)
        if not config.workers:
            return items
        return in_workers(items, config.workers, config.buffer)

    def _draw(self) -> ItemSize:
        assert self._items is not None
        item = next(self._items)
        size = item_size(item, self._data.config.budget, self._data.model.audio.n_window)
        self._waiting.append(_Waiting(self._place.number(self._taken), item, size))
        self._taken += 1
        return size

    def _batch(self) -> _Made:
        parts = [self._part() for _ in range(self._data.config.parts)]
        return parts[0] if len(parts) == 1 else _Made(joined([part.loaded for part in parts]), None)

    def _part(self) -> _Made:
        budget, model = self._data.config.budget, self._data.model
        length, windows = (sum(one.size[i] for one in self._waiting) for i in range(2))
        while not enough(ItemSize(length, windows), budget):
            size = self._draw()
            length, windows = length + size.length, windows + size.windows
        rows, rest = pack([one.size for one in self._waiting], budget)
        packed = [[self._waiting[i].item for i in row] for row in rows]
        self._waiting = [self._waiting[i] for i in rest]
        items: list[Item] = list(itertools.chain(*packed))
        if self._data.config.mel == "host":
            return _Made(loaded(self._data.collate(packed, budget, model), items), None)
        silent = [[device_mel.silent(item) for item in row] for row in packed]
        batch = self._data.collate(silent, budget, model)
        return _Made(loaded(batch, items), device_mel.heard(items, budget.windows, model.audio.n_window))
