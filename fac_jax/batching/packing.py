"""First-fit packing of waiting items into the rows of one batch, under fixed budgets: what does not fit waits on."""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from fac_jax.batching.grid import windows_of
from fac_jax.types import InputError

LOOKED_OVER = 2  # batches' worth of items that one batch is chosen from


class Sized(Protocol):
    """An `Example` or a `PairExample`."""

    @property
    def id(self) -> str:
        """Names the row."""
        ...

    @property
    def mels(self) -> tuple[np.ndarray, ...]:
        """What is heard, of which `len` is in mel frames."""
        ...

    def __len__(self) -> int:
        """LLM positions."""
        ...


@dataclasses.dataclass(frozen=True)
class Budget:
    """The static shapes of a batch.

    Attributes:
      rows: B (pairs of rows for preferences).
      seq_len: S, LLM positions of a row.
      windows: W, encoder windows of all rows together.
      segments: most conversations of a row; None for any number.
    """

    rows: int
    seq_len: int
    windows: int
    segments: int | None = None


class ItemSize(NamedTuple):
    """What an item takes of a batch."""

    length: int
    windows: int


def item_size(item: Sized, budget: Budget, n_window: int) -> ItemSize:
    """LLM positions and encoder windows of an item.

    Raises:
      InputError: no batch can hold it; names the row, what it sizes and what a batch has.
    """
    size = ItemSize(len(item), sum(windows_of(mel, n_window) for mel in item.mels))
    if size.length > budget.seq_len:
        raise InputError(
            f"row {item.id}: takes {size.length} LLM positions, a row of a batch has {budget.seq_len}: "
            "raise seq_len or remove the row"
        )
    if size.windows > budget.windows:
        raise InputError(
            f"row {item.id}: sizes {size.windows} encoder windows, a batch has {budget.windows}: "
            "raise windows or remove the row"
        )
    return size


def enough(waiting: ItemSize, budget: Budget) -> bool:
    """Whether the next batch can be chosen well from what waits, given as the sum of its sizes."""
    full = waiting.length >= LOOKED_OVER * budget.rows * budget.seq_len
    return full or waiting.windows > LOOKED_OVER * budget.windows


def pack(sizes: Sequence[ItemSize], budget: Budget) -> tuple[list[list[int]], list[int]]:
    """Chooses the rows of the next batch from what waits; a pure function.

    The first item is taken for sure, so that none waits longer than there are items before it. The others go by their
    size, largest first, each into the first row with room for it: small ones, of which enough wait, fill the gaps.

    Args:
      sizes: of the items in the order in which they came; each fits an empty batch.
      budget: of the batch.

    Returns:
      indices of the items of every row that is not empty, and of those that wait on, in their order.
    """
    share = budget.rows * budget.seq_len / max(budget.windows, 1)  # LLM positions that a window is worth
    worth = [max(size.length, size.windows * share) for size in sizes]
    room = np.full(budget.rows, budget.seq_len)
    places = np.full(budget.rows, len(sizes) if budget.segments is None else budget.segments)
    windows = budget.windows
    rows: list[list[int]] = [[] for _ in range(budget.rows)]
    for index in [0, *sorted(range(1, len(sizes)), key=lambda i: (-worth[i], i))]:
        fitting = (room >= sizes[index].length) & (places > 0)
        row = int(fitting.argmax())
        if not fitting[row] or sizes[index].windows > windows:
            continue
        rows[row].append(index)
        room[row] -= sizes[index].length
        places[row] -= 1
        windows -= sizes[index].windows
    taken = {index for row in rows for index in row}
    return [row for row in rows if row], [index for index in range(len(sizes)) if index not in taken]


def windows_for(items: Sequence[Sized], rows: int, seq_len: int, n_window: int, spare: float = 0.05) -> int:
    """A budget of windows under which rows fill up: what full rows of such items need on average, and some spare.

    Args:
      items: a fair sample of the mixture.
      rows: B.
      seq_len: S.
      n_window: half the mel frames of an encoder window.
      spare: share above the average. Every window is computed, so a large one costs; a small one leaves rows open.
    """
    windows = sum(windows_of(mel, n_window) for item in items for mel in item.mels)
    return math.ceil(windows / sum(map(len, items)) * rows * seq_len * (1 + spare))
