"""Grades from 1 to 10 in a judge's reply."""

import pytest

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.chatbot import UNPARSED, score, summarize_grades


def test_the_first_whole_number_in_double_brackets_counts() -> None:
    assert score("See [1], [[x]], [[4.5]]; [[8]] not [[2]]", rules="official").points == 80
    assert score("[[011]]", rules="official").points == 110  # no check of the range
    with pytest.raises(RowRefusedError):
        score("8/10", rules="official")


def test_strict_counts_what_is_no_grade_as_nothing() -> None:
    outcomes = [score(reply, rules="strict") for reply in ("[[10]]", "[[011]]", "8/10", "[[0]]")]
    assert [outcome.points for outcome in outcomes] == [100, 0, 0, 0]
    assert summarize_grades(outcomes).remarks == {UNPARSED: 3}


def test_the_tool_prints_ten_times_the_value_of_the_paper() -> None:
    outcomes = [score(reply, rules="official") for reply in ("[[6]]", "[[7]]")]
    assert summarize_grades(outcomes).values == {"score": 65, "printed": 650}
    assert summarize_grades([]).values == {}
