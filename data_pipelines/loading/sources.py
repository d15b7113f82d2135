"""Named sources of items and their mixture: a stream whose numbers name source, row and epoch; plans of batches."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np

from fac_jax.batching.grid import windows_of
from fac_jax.batching.packing import Budget, ItemSize, enough, pack
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Rows of a data set, their sizes, and how an item is made of one, which worker processes do.

    Attributes:
      rows: anything with a length and random access, such as a list or a tfds data source.
      make: returns the item of a row in an epoch (0, 1, ..); the same arguments always give the same item.
      length: int32 `[R]`, most LLM positions that the item of a row takes.
      windows: int32 `[R]`, most encoder windows that it takes.
    """

    rows: Sequence[Any]
    make: Callable[[Any, int], Any]
    length: np.ndarray
    windows: np.ndarray


class Place(NamedTuple):
    """Where an item of a stream comes from: a row of a source, which was gone through `epoch` times before."""

    source: str
    row: int
    epoch: int


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """A numbered stream of places.

    Attributes:
      sources: by name.
      place: returns where the item of a number comes from.
      size: how many numbers there are; None for no end.
    """

    sources: Mapping[str, Source]
    place: Callable[[int], Place]
    size: int | None = None


def mixture_shares(
    weights: Mapping[str, float], sizes: Mapping[str, int], temperature: float | None
) -> dict[str, float]:
    """Returns the share of every source in a mixture, in proportion to `weight * rows^(1 / temperature)`.

    Temperature 1 draws in proportion to size, a higher one flattens (the multilingual T5's alpha is 1 / temperature);
    with None only the weights decide, which is the limit of a high temperature. A source of weight 0 is left out.

    Raises:
      InputError: no source, one without rows, a negative weight, or a temperature that is not positive; names it.
    """
    named = {name: weight for name, weight in weights.items() if weight}
    if not named:
        raise InputError("the mixture names no source")
    for name, weight in named.items():
        if not sizes.get(name):
            raise InputError(f"the mixture names {name!r}, which has no rows; there are {', '.join(sizes)}")
        if not 0 <= weight < math.inf:
            raise InputError(f"mixture.{name} is {weight}; a weight is a finite number, at least 0")
    if temperature is not None and temperature <= 0:
        raise InputError(f"temperature is {temperature}; it is positive, or null for weights only")
    power = 0.0 if temperature is None else 1 / temperature
    parts = {name: weight * sizes[name] ** power for name, weight in named.items()}
    return {name: part / sum(parts.values()) for name, part in parts.items()}


def mixture(sources: Mapping[str, Source], shares: Mapping[str, float], seed: int) -> Stream:
    """Returns an endless stream in which every stretch has of each source its share (`mixture_shares`).

    Every source is gone through in a new order, drawn by `seed`, each epoch of its own.
    """
    named = {name: sources[name] for name in sorted(shares)}
    streams = [_endless(name, len(source.rows), seed + i) for i, (name, source) in enumerate(named.items())]
    places: Any = grain.MapDataset.mix(streams, [shares[name] for name in named])
    return Stream(named, places.__getitem__)


def _endless(name: str, rows: int, seed: int) -> grain.MapDataset:
    return grain.MapDataset.range(rows).repeat().map_with_index(_Shuffled(name, rows, seed))


class _Shuffled:
    """Gives the place of a number, by an order of the rows that is drawn for every epoch.

    An order is kept as a whole: `grain`'s `shuffle` keeps none, but takes milliseconds for each row of a small source.
    """

    def __init__(self, name: str, rows: int, seed: int) -> None:
        self._name, self._rows, self._seed = name, rows, seed
        self._orders: dict[int, np.ndarray] = {}

    def __call__(self, number: int, row: int) -> Place:
        epoch = number // self._rows
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng((self._seed, epoch)).permutation(np.arange(self._rows, dtype=np.int32))
            # Threads that read ahead are in two epochs at once at most; a new dict, since all of them share it.
            self._orders = {**{near: one for near, one in self._orders.items() if abs(near - epoch) == 1}, epoch: order}
        return Place(self._name, int(order[row]), epoch)


def one_epoch(name: str, source: Source) -> Stream:
    """Returns a stream of every row of one source once, in their order."""
    return Stream({name: source}, functools.partial(Place, name, epoch=0), len(source.rows))


def items_as_source(items: Sequence[Any], n_window: int) -> Source:
    """Returns a source of examples or pairs that are made already, heard in windows of `2 * n_window` frames."""
    windows = [sum(windows_of(mel, n_window) for mel in item.mels) for item in items]
    return Source(items, _as_it_is, np.array([len(item) for item in items], np.int32), np.array(windows, np.int32))


def _as_it_is(item: Any, epoch: int) -> Any:
    return item


class Plan:
    """Packs the numbers of a stream into batches, one after the other.

    Its state is how many numbers were drawn and which of them wait. It does not depend on hosts, meshes, workers or
    micro-batches, so that a run can resume with others of each.
    """

    def __init__(self, stream: Stream, budget: Budget) -> None:
        """Takes the stream and the shapes of the batch of one update, all hosts together."""
        self._stream, self._budget = stream, budget
        self.set_state({"drawn": 0, "waiting": []})

    def batch(self) -> list[list[int]]:
        """Returns the numbers of every row of the next batch.

        Raises:
          StopIteration: a stream that has an end is over.
          InputError: no row can hold an item.
        """
        size = self._stream.size
        total = ItemSize(*(sum(size[i] for size in self._sizes) for i in range(2)))
        while (size is None or self._drawn < size) and not enough(total, len(self._waiting), self._budget):
            drawn = self._draw(self._drawn)
            total = ItemSize(total.length + drawn.length, total.windows + drawn.windows)
            self._drawn += 1
        if not self._waiting:
            raise StopIteration
        rows, rest = pack(self._sizes, self._budget)
        numbers = [[self._waiting[i] for i in row] for row in rows]
        self._waiting = [self._waiting[i] for i in rest]
        self._sizes = [self._sizes[i] for i in rest]
        return numbers

    def _draw(self, number: int) -> ItemSize:
        place = self._stream.place(number)
        source = self._stream.sources[place.source]
        size = ItemSize(int(source.length[place.row]), int(source.windows[place.row]))
        if size.length > self._budget.seq_len or size.windows > self._budget.windows_per_row:
            raise InputError(
                f"row {place.row} of {place.source} takes {size.length} LLM positions and {size.windows} encoder "
                f"windows; a row of a batch has {self._budget.seq_len} and {self._budget.windows_per_row}"
            )
        self._waiting.append(number)
        self._sizes.append(size)
        return size

    def get_state(self) -> dict[str, Any]:
        """Returns what the next batch follows from; JSON-able."""
        return {"drawn": self._drawn, "waiting": list(self._waiting)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where `get_state` was called."""
        self._drawn: int = state["drawn"]
        self._waiting: list[int] = []
        self._sizes: list[ItemSize] = []
        for number in state["waiting"]:
            self._draw(number)
