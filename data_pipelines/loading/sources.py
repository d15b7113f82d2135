"""Named sources of items and their mixture: a stream in which every number names a source, a row and an epoch."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import grain
import numpy as np

from fac_jax.batching.grid import windows_of
from fac_jax.batching.packing import ItemSize
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

    def item(self, row: int, epoch: int) -> Any:
        """Returns the item of a row in an epoch."""
        return self.make(self.rows[row], epoch)


class Place(NamedTuple):
    """Where an item of a stream comes from.

    Attributes:
      source: name of its source.
      row: number of its row there.
      epoch: how often the source has been gone through before.
    """

    source: str
    row: int
    epoch: int


class Stream(Protocol):
    """A numbered stream of places; None as its size says that it has no end."""

    @property
    def sources(self) -> Mapping[str, Source]:
        """Returns the sources by name."""
        ...

    @property
    def size(self) -> int | None:
        """Returns how many numbers the stream has."""
        ...

    def place(self, number: int) -> Place:
        """Returns where the item of a number comes from."""
        ...


def item_size(stream: Stream, number: int) -> ItemSize:
    """Returns what the item of a number takes of a row."""
    place = stream.place(number)
    source = stream.sources[place.source]
    return ItemSize(int(source.length[place.row]), int(source.windows[place.row]))


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


class Mixture:
    """All sources in one endless stream; in every stretch of it each source has its share.

    Every source is gone through in a new order each epoch of its own.
    """

    size: int | None = None

    def __init__(self, sources: Mapping[str, Source], shares: Mapping[str, float], seed: int) -> None:
        """Takes the sources, their shares (`mixture_shares`) and the seed of the order."""
        self.sources = {name: sources[name] for name in sorted(shares)}
        streams = [_endless(name, len(s.rows), seed + i) for i, (name, s) in enumerate(self.sources.items())]
        self._places = grain.MapDataset.mix(streams, [shares[name] for name in self.sources])

    def place(self, number: int) -> Place:
        """Returns where the item of a number comes from."""
        found: Any = self._places[number]  # grain says None too, for a source that skips items
        return found


def _endless(name: str, rows: int, seed: int) -> grain.MapDataset:
    shuffled = grain.MapDataset.source(range(rows)).seed(seed).shuffle().repeat()
    return shuffled.map_with_index(lambda i, row: Place(name, int(row), i // rows))


class OneEpoch:
    """Every row of one source once, in their order."""

    def __init__(self, name: str, source: Source) -> None:
        """Takes the source and its name."""
        self._name, self.sources = name, {name: source}
        self.size: int | None = len(source.rows)

    def place(self, number: int) -> Place:
        """Returns where the item of a number comes from."""
        return Place(self._name, number, 0)


def items_as_source(items: Sequence[Any], n_window: int) -> Source:
    """Returns a source of items that are made already.

    Args:
      items: examples, or pairs of them.
      n_window: half the mel frames of an encoder window.
    """
    windows = [sum(windows_of(mel, n_window) for mel in item.mels) for item in items]
    return Source(items, _as_it_is, np.array([len(item) for item in items], np.int32), np.array(windows, np.int32))


def _as_it_is(item: Any, epoch: int) -> Any:
    return item
