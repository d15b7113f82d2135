"""Batches that cannot be are refused by the key."""

from typing import Any

import pytest

from fac_jax.batching.batch_config import BatchConfig, check_divides
from fac_jax.types import InputError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_rows": 0}, "batch_rows is 0; it is at least 1"),
        ({"windows_per_row": 0}, "windows_per_row is 0; it is at least 1"),
        ({"segments": -1}, "segments is -1; it is at least 1"),
        ({"workers": -1}, "workers is -1; it is at least 0"),
    ],
)
def test_numbers_that_no_batch_can_have_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        BatchConfig(**changes)


def test_a_weight_of_0_leaves_a_set_out() -> None:
    assert BatchConfig({"a": 1.0, "b": 0.0, "c": 0.5}).sources == {"a": 1.0, "c": 0.5}


def test_rows_that_parts_do_not_divide_are_refused_with_the_nearest_that_do() -> None:
    for rows, near in ((10, "8 or 16"), (3, "8")):
        with pytest.raises(InputError, match=f"^rows is {rows}, which 8 equal parts do not divide.*: {near}$"):
            check_divides(rows, 8, "rows")
    check_divides(16, 8, "rows")
