"""Batches made ahead in a thread: their order, their state, their faults."""

import threading
from typing import Any

import jax
import numpy as np
import pytest
from mesh_run import layout
from toy_training import ToyData, ToyLoaded, make_batch

from fac_jax.training.mesh_data import AHEAD, MeshData
from fac_jax.types import InputError


class Rows(ToyData):
    """Batches of eight rows; remembers which threads made them."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.threads: set[str] = set()
        self.fails_at = fails_at

    def __next__(self) -> ToyLoaded:
        self.threads.add(threading.current_thread().name)
        if self._next == self.fails_at:
            raise InputError(f"row {self._next} is bad")
        loaded = super().__next__()
        batch: Any = make_batch(self._next - 1, rows=8)
        return ToyLoaded(batch, loaded.row_ids, loaded.audio_seconds, loaded.tokens, loaded.stats)


@pytest.fixture
def data() -> Any:
    made: list[MeshData] = []

    def make(rows: Rows) -> MeshData:
        made.append(MeshData(rows, layout("4x2")))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_batches_come_in_order_from_another_thread(data: Any) -> None:
    rows = Rows()
    placed = data(rows)
    for number in range(4):
        loaded = next(placed)
        assert loaded.row_ids[0] == f"toy/{number}/0"
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(loaded.batch), make_batch(number, rows=8))
        assert len(loaded.batch.text_ids.sharding.device_set) == 8
    assert rows.threads and threading.current_thread().name not in rows.threads


def test_the_state_is_that_of_the_last_batch_handed_out(data: Any) -> None:
    placed = data(Rows())
    assert placed.get_state() == {"next": 0}
    for number in range(1, 6):
        next(placed)
        assert placed.get_state() == {"next": number}
    again = data(Rows())
    next(again)  # batches made ahead are dropped
    again.set_state({"next": 5})
    assert again.get_state() == {"next": 5}
    assert [next(one).row_ids for one in (placed, again)] == [[f"toy/5/{row}" for row in range(3)]] * 2


def test_no_more_batches_are_made_ahead_than_agreed(data: Any) -> None:
    rows = Rows()
    placed = data(rows)
    next(placed)
    placed.close()  # waits for the thread
    assert rows.get_state()["next"] <= 1 + AHEAD and rows.closed


def test_a_fault_is_raised_where_its_batch_would_come(data: Any) -> None:
    placed = data(Rows(fails_at=2))
    assert [next(placed).row_ids[0] for _ in range(2)] == ["toy/0/0", "toy/1/0"]
    with pytest.raises(InputError, match="row 2 is bad"):
        next(placed)
    assert placed.get_state() == {"next": 2}
