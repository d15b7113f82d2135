"""The choice of a batch's rows: budgets hold, nothing is lost, nothing waits for ever, rows are full."""

import numpy as np
import pytest

from fac_jax.batching.packing import Budget, ItemSize, enough, pack


def mix(count: int, seq_len: int, seed: int = 0) -> list[ItemSize]:
    """Log-normal lengths with a long tail, three tenths of each heard in windows of ten positions."""
    lengths = np.clip(np.random.default_rng(seed).lognormal(np.log(seq_len / 10), 0.9, count), 8, seq_len).astype(int)
    return [ItemSize(int(length), -(-int(length) * 3 // 100)) for length in lengths]


def batches(sizes: list[ItemSize], budget: Budget, count: int) -> tuple[list[list[int]], list[list[list[int]]]]:
    """So many batches from endless sizes: what was waiting before each, and their rows, as numbers of sizes."""
    waiting: list[int] = []
    drawn, befores, packed = 0, [], []
    for _ in range(count):
        while True:
            total = ItemSize(*(sum(sizes[i % len(sizes)][k] for i in waiting) for k in range(2)))
            if enough(total, len(waiting), budget):
                break
            waiting.append(drawn)
            drawn += 1
        rows, rest = pack([sizes[i % len(sizes)] for i in waiting], budget)
        befores.append(waiting)
        packed.append([[waiting[i] for i in row] for row in rows])
        waiting = [waiting[i] for i in rest]
    return befores, packed


@pytest.mark.parametrize("budget", [Budget(4, 512, 18), Budget(3, 512, 16), Budget(2, 512, 30, segments=3)])
def test_budgets_hold_and_nothing_is_lost_or_forgotten(budget: Budget) -> None:
    sizes = mix(200, 512)
    befores, packed = batches(sizes, budget, 30)
    seen: set[int] = set()
    for before, rows in zip(befores, packed, strict=True):
        taken = [i for row in rows for i in row]
        assert before[0] in taken and len(taken) == len(set(taken)) and not seen & set(taken)
        assert all(sum(sizes[i % 200].length for i in row) <= budget.seq_len for row in rows)
        assert all(sum(sizes[i % 200].windows for i in row) <= budget.windows_per_row for row in rows)
        assert len(rows) == budget.rows and all(len(row) <= (budget.segments or 1000) for row in rows)
        seen |= set(taken)
    assert max(seen) + 1 - len(seen) <= len(befores[-1])  # what was not taken is what waits


@pytest.mark.parametrize("rows", [1, 4, 16])
def test_rows_of_a_real_mix_of_lengths_are_full(rows: int, figures) -> None:
    sizes = mix(1000, 2048)
    per_position = sum(size.windows for size in sizes) / sum(size.length for size in sizes)
    budget = Budget(rows, 2048, int(1.05 * per_position * 2048))
    _, packed = batches(sizes, budget, 40)
    tokens = [sum(sizes[i % 1000].length for row in batch for i in row) for batch in packed]
    figures.at_least(f"packing fill, {rows} x 2048", float(np.mean(tokens)) / rows / 2048, 0.95)


def test_sizes_that_an_empty_row_holds() -> None:
    budget = Budget(2, 20, 5)
    length, windows = np.array([20, 21, 3]), np.array([5, 1, 6])
    assert budget.holds(length, windows).tolist() == [True, False, False] and budget.windows == 10
