"""Numbers from 1 to 5 in a judge's replies."""

import math

import pytest

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.open_replies import UNPARSED, read_number, score, summarize_numbers


@pytest.mark.parametrize(
    ("reply", "number"),
    [("4.", 4), (" 1e0\n", 1), ("５", 5), ("1_0", 10), ("So: [[3]] or [[4]]", 3), ("[[4.5]]", None), ("4/5", None)],
)
def test_numbers(reply: str, number: float | None) -> None:
    assert read_number(reply) == number


def test_official_refuses_the_row_where_evalkit_reads_the_first_reply() -> None:
    with pytest.raises(RowRefusedError):
        score(["5", "4", "good"], rules="official")
    assert score(["5", "4", "good"], rules="evalkit").points == 5
    assert score(["good", "4"], rules="evalkit").cause == UNPARSED


def test_only_strict_checks_the_range() -> None:
    assert score(["10"], rules="official").points == 10
    assert math.isnan(score(["nan"], rules="evalkit").points or 0)
    outcomes = [score(replies, rules="strict") for replies in (["10", "nan"], ["0", "5", "3"], ["2"])]
    assert [outcome.points for outcome in outcomes] == [None, 4, 2]
    summary = summarize_numbers(outcomes, rules="strict")
    assert summary.values == {"score": 3} and summary.unscored == {UNPARSED: 1}
    assert summary.remarks == {"partly unparsed": 1}


def test_official_weighs_replies_and_evalkit_rows() -> None:
    rows = [["5", "5", "5"], ["1"]]
    assert summarize_numbers([score(r, rules="official") for r in rows], rules="official").values["score"] == 4
    assert summarize_numbers([score(r, rules="evalkit") for r in rows], rules="evalkit").values["score"] == 3
    assert summarize_numbers([], rules="evalkit").values == {}
