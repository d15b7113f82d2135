"""Named sources of items and their mixture, by grain: an endless stream in which every number has its item."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import grain
import numpy as np

from data_pipelines.augment.spec import AugmentConfig, augment
from fac_jax.batching.grid import Example
from fac_jax.types import InputError

T = TypeVar("T")


def as_it_is(row: T, epoch: int) -> T:
    """`Source.make` of rows that are items already."""
    return row


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Rows of a data set and how an item is made of one, which worker processes do.

    Attributes:
      rows: anything with a length and random access, such as a list or a tfds data source.
      make: the item of a row in an epoch (0, 1, ..); always the same one.
    """

    rows: Sequence[Any]
    make: Callable[[Any, int], Any] = as_it_is


@dataclasses.dataclass(frozen=True)
class Augmented:
    """`Source.make` of examples whose mel is augmented anew every epoch."""

    config: AugmentConfig
    seed: int

    def __call__(self, example: Example, epoch: int) -> Example:
        """The example, changed."""
        return augment(example, self.config, self.seed, epoch)


class Subset(Sequence[Any]):
    """Some of the rows of a data set, by their numbers; each is read when it is asked for."""

    def __init__(self, rows: Sequence[Any], numbers: np.ndarray) -> None:
        """Takes all rows, and the numbers int `[N]` of those that are chosen."""
        self._rows, self._numbers = rows, numbers

    def __len__(self) -> int:
        """N."""
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        """A row, or the list of a slice's rows."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._rows[int(self._numbers[index])]


class Made(Sequence[Any]):
    """The items of a source in its first epoch; each is made when it is asked for."""

    def __init__(self, source: Source) -> None:
        """Takes rows and how an item is made of one."""
        self._source = source

    def __len__(self) -> int:
        """Rows of the source."""
        return len(self._source.rows)

    def __getitem__(self, index: Any) -> Any:
        """An item, or the list of a slice's items."""
        found = self._source.rows[index]
        return [self._source.make(row, 0) for row in found] if isinstance(index, slice) else self._source.make(found, 0)


def endless(source: Source, seed: int) -> grain.MapDataset:
    """Items of a source without end, in a new order every epoch."""
    size, make = len(source.rows), source.make
    shuffled = grain.MapDataset.source(source.rows).seed(seed).shuffle().repeat()
    return shuffled.map_with_index(lambda i, row: make(row, i // size))


def shares(weights: Mapping[str, float], sizes: Mapping[str, int], temperature: float | None) -> dict[str, float]:
    """HostShard of every source in a mixture, in proportion to `weight * rows^(1 / temperature)`.

    Temperature 1 draws in proportion to size, a higher one flattens (the multilingual T5's alpha is 1 / temperature);
    None lets the weights alone decide, which is the limit of a high temperature.

    Raises:
      InputError: no source, one without rows, a weight or a temperature that is not positive; names it.
    """
    if not weights:
        raise InputError("the mixture names no source")
    for name, weight in weights.items():
        if not sizes.get(name):
            raise InputError(f"the mixture names {name!r}, which has no rows; there are {', '.join(sizes)}")
        if not weight > 0:
            raise InputError(f"mixture.{name} is {weight}; a weight is positive")
    if temperature is not None and not temperature > 0:
        raise InputError(f"temperature is {temperature}; it is positive, or null for weights alone")
    power = 0.0 if temperature is None else 1 / temperature
    parts = {name: weight * sizes[name] ** power for name, weight in weights.items()}
    return {name: part / sum(parts.values()) for name, part in parts.items()}


def mixed(sources: Mapping[str, Source], parts: Mapping[str, float], seed: int) -> grain.MapDataset:
    """All sources in one endless stream; in every stretch of it each has its share.

    Args:
      sources: by name; at least those of `parts`.
      parts: `shares`.
      seed: of the order.
    """
    names = sorted(parts)
    streams = [endless(sources[name], seed + i) for i, name in enumerate(names)]
    return grain.MapDataset.mix(streams, [parts[name] for name in names])
