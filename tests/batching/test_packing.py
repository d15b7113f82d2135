"""The choice of a batch's rows: budgets hold, nothing is lost, nothing waits for ever, rows are full."""

import dataclasses

import numpy as np
import pytest

from fac_jax.batching.packing import Budget, ItemSize, enough, item_size, pack, windows_for
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
    id: str
    length: int
    mels: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return self.length


def mix(count: int, seq_len: int, seed: int = 0) -> list[ItemSize]:
    """Log-normal lengths with a long tail, three tenths of each heard in windows of ten positions."""
    lengths = np.clip(np.random.default_rng(seed).lognormal(np.log(seq_len / 10), 0.9, count), 8, seq_len).astype(int)
    return [ItemSize(int(length), -(-int(length) * 3 // 100)) for length in lengths]


def batches(sizes: list[ItemSize], budget: Budget, count: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """So many batches from endless sizes: what was waiting before each, and their rows, as numbers of sizes."""
    waiting: list[int] = []
    drawn, befores, packed = 0, [], []
    for _ in range(count):
        while not enough(ItemSize(*(sum(sizes[i % len(sizes)][k] for i in waiting) for k in range(2))), budget):
            waiting.append(drawn)
            drawn += 1
        rows, rest = pack([sizes[i % len(sizes)] for i in waiting], budget)
        befores.append(waiting)
        packed.append([[waiting[i] for i in row] for row in rows])
        waiting = [waiting[i] for i in rest]
    return befores, packed


@pytest.mark.parametrize("budget", [Budget(4, 512, 70), Budget(3, 512, 20), Budget(2, 512, 60, segments=3)])
def test_budgets_hold_and_nothing_is_lost_or_forgotten(budget: Budget) -> None:
    sizes = mix(200, 512)
    befores, packed = batches(sizes, budget, 30)
    seen: set[int] = set()
    for before, rows in zip(befores, packed, strict=True):
        taken = [i for row in rows for i in row]
        assert before[0] in taken and len(taken) == len(set(taken)) and not seen & set(taken)
        assert all(sum(sizes[i % 200].length for i in row) <= budget.seq_len for row in rows)
        assert sum(sizes[i % 200].windows for i in taken) <= budget.windows
        assert len(rows) <= budget.rows and all(len(row) <= (budget.segments or 1000) for row in rows)
        seen |= set(taken)
    assert max(seen) + 1 - len(seen) <= len(befores[-1])  # what was not taken is what waits


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_rows_of_a_real_mix_of_lengths_are_full(rows: int, figures) -> None:
    sizes = mix(1000, 2048)
    per_position = sum(size.windows for size in sizes) / sum(size.length for size in sizes)
    budget = Budget(rows, 2048, int(1.05 * per_position * rows * 2048))
    _, packed = batches(sizes, budget, 40)
    tokens = [sum(sizes[i % 1000].length for row in batch for i in row) for batch in packed]
    figures.at_least(f"packing fill, {rows} x 2048", float(np.mean(tokens)) / rows / 2048, 0.95)


def test_an_item_larger_than_a_budget_is_named() -> None:
    item = Item("a", 20, (np.zeros((130, 128)), np.zeros((40, 128))))
    assert item_size(item, Budget(1, 20, 5), 20) == ItemSize(20, 5)
    with pytest.raises(InputError, match="row a: takes 20 LLM positions, a row of a batch has 19: raise seq_len"):
        item_size(item, Budget(1, 19, 5), 20)
    with pytest.raises(InputError, match="row a: sizes 5 encoder windows, a batch has 4: raise windows"):
        item_size(item, Budget(8, 20, 4), 20)


def test_a_budget_of_windows_is_what_full_rows_need() -> None:
    items = [Item("a", 20, (np.zeros((130, 128)),)), Item("b", 30)]
    assert windows_for(items, 2, 100, 20, spare=0.0) == 16  # four windows to fifty positions
    assert windows_for(items, 2, 100, 20, spare=0.1) == 18
