"""Which items make up every batch, planned from sizes alone: the same plan on every host, for any number of them."""

from typing import Any

from data_pipelines.loading.sources import Stream, item_size
from fac_jax.batching.packing import Budget, ItemSize, enough, pack
from fac_jax.types import InputError


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
        size = item_size(self._stream, number)
        if size.length > self._budget.seq_len or size.windows > self._budget.windows_per_row:
            place = self._stream.place(number)
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
