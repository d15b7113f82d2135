"""First-fit packing of waiting items into the rows of one batch, from their sizes alone."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

LOOKAHEAD = 2  # batches' worth of items that one batch is chosen from


@dataclasses.dataclass(frozen=True)
class Budget:
    """The static shapes of a batch.

    Attributes:
      rows: B (pairs of rows for preferences).
      seq_len: S, LLM positions of a row.
      windows_per_row: encoder windows that a row has room for.
      segments: most conversations of a row; None for any number.
      features: width of the stored features that the windows hold; None for log-mels.
    """

    rows: int
    seq_len: int
    windows_per_row: int
    segments: int | None = None
    features: int | None = None

    @property
    def windows(self) -> int:
        """Returns W, the number of encoder windows of the whole batch."""
        return self.rows * self.windows_per_row

    def holds(self, length: Int[np.ndarray, " N"], windows: Int[np.ndarray, " N"]) -> Bool[np.ndarray, " N"]:
        """Returns which items, given by their sizes, fit an empty row."""
        return (length <= self.seq_len) & (windows <= self.windows_per_row)


class ItemSize(NamedTuple):
    """The LLM positions and the encoder windows that a conversation, or a pair, takes in a row."""

    length: int
    windows: int


def enough(total: ItemSize, count: int, budget: Budget) -> bool:
    """Returns whether the `count` items that wait, of `total` size, are enough to choose the next batch well."""
    most = None if budget.segments is None else budget.rows * budget.segments
    return (
        total.length >= LOOKAHEAD * budget.rows * budget.seq_len
        or total.windows > LOOKAHEAD * budget.windows
        or (most is not None and count >= LOOKAHEAD * most)
    )


def pack(sizes: Sequence[ItemSize], budget: Budget) -> tuple[list[list[int]], list[int]]:
    """Chooses the rows of the next batch from the items that wait.

    The first item is always taken, so that no item waits longer than there are items before it. The others go by their
    size, largest first, each into the first row with room for it; small ones, of which enough wait, fill the gaps.

    Args:
      sizes: sizes of the items in the order in which they came; each fits an empty row.

    Returns:
      the indices of the items of every row (`budget.rows` lists, perhaps empty ones), and of those that keep waiting.
    """
    per_window = budget.seq_len / max(budget.windows_per_row, 1)  # LLM positions that a window is worth
    weight = [max(size.length, size.windows * per_window) for size in sizes]
    room = np.full(budget.rows, budget.seq_len)
    windows = np.full(budget.rows, budget.windows_per_row)
    places = np.full(budget.rows, len(sizes) if budget.segments is None else budget.segments)
    rows: list[list[int]] = [[] for _ in range(budget.rows)]
    for index in [0, *sorted(range(1, len(sizes)), key=lambda i: (-weight[i], i))]:
        fitting = (room >= sizes[index].length) & (windows >= sizes[index].windows) & (places > 0)
        row = int(fitting.argmax())
        if not fitting[row]:
            continue
        rows[row].append(index)
        room[row] -= sizes[index].length
        windows[row] -= sizes[index].windows
        places[row] -= 1
    taken = {index for row in rows for index in row}
    return rows, [index for index in range(len(sizes)) if index not in taken]
