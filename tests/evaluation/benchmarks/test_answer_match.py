"""Answers in transcripts."""

import pytest

from fac_jax.evaluation.benchmarks.answer_match import score, summarize_matches, tokens
from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError


def test_tokens_are_words_of_any_script_and_single_signs() -> None:
    assert tokens("It's\u00a0$5,\u200b 北京2x!") == ["it", "'", "s", "$", "5", ",", "北京2x", "!"]
    assert tokens("É") == tokens("E\u0301") == ["e\u0301"]


@pytest.mark.parametrize(
    ("prediction", "label", "points"),
    [
        ("It was the Beatles.", ["Queen", "beatles"], 100),
        ("The blues", "blue", 0),  # whole tokens only
        ("New, York", "New York", 0),  # nothing in between
        ("x", [], 0),
        ("5", "5", 100),
    ],
)
def test_any_answer_is_enough(prediction: str, label: object, points: float) -> None:
    assert score(prediction, label, rules="official").points == points
    assert score(prediction, label, rules="strict").points == points


def test_quirks_are_official_only() -> None:
    for prediction, label in (("x", ""), (None, "none"), (5, "5")):
        assert score(prediction, label, rules="official").points == 100
        assert score(prediction, label, rules="strict").points == 0
    for label in (5, None, [5], {"a": "x"}):
        with pytest.raises(RowRefusedError):
            score("x", label, rules="official")
        assert score("x", label, rules="strict").points == 0


def test_rows_that_fail_are_reported_apart() -> None:
    values = summarize_matches([Outcome(100.0), Outcome(0.0), Outcome(100.0), Outcome(None, "refused")]).values
    assert values == {"acc": pytest.approx(200 / 3), "fail_rate": 25}
