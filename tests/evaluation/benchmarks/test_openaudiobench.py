"""Replies of the judge of OpenAudioBench."""

import warnings

import pytest

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.openaudiobench import UNPARSED, score, summarize_points


@pytest.mark.parametrize(
    ("subset", "reply", "points"),
    [
        ("alpaca_eval", "[[7]] and [[1]]", 70),
        ("llama_questions", "the score is [correct]", 100),
        ("llama_questions", "The score is [Incorrect], the score is [Correct]", 0),
        ("reasoning_qa", "[1], so [4]", 80),
        ("trivia_qa", "{'judgment': \"COR\" 'rect',}", 100),
        ("web_questions", '{"analysis": "none", "judgment": "correct "}', 0),
        ("web_questions", r'{"analysis": "\(x\)", "judgment": "correct"}', 100),
    ],
)
def test_every_subset_has_its_form(subset: str, reply: str, points: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(subset, reply, rules="evalkit").points == points


@pytest.mark.parametrize(
    ("subset", "reply", "strict"),
    [
        ("alpaca_eval", "[[7.5]]", 0),
        ("llama_questions", "[Correct]", 0),
        ("reasoning_qa", "[6]", 0),
        ("trivia_qa", '{"ok": true, "judgment": "correct"}', 100),  # JSON, not Python
        ("trivia_qa", '{"analysis": "a}", "judgment": "correct"}', 100),
        ("trivia_qa", '} {"judgment": "correct"}', 100),
        ("trivia_qa", '{"judgment": ["correct"]}', 0),
        ("trivia_qa", '["judgment"]', 0),
        ("trivia_qa", "{'judgment'}", 0),
        ("trivia_qa", '{"judgement": "correct"}', 0),
    ],
)
def test_what_evalkit_leaves_out_strict_scores(subset: str, reply: str, strict: float) -> None:
    assert score(subset, reply, rules="evalkit").cause == UNPARSED
    assert score(subset, reply, rules="strict").points == strict


def test_a_grade_out_of_range_stops_evalkit() -> None:
    for reply in ("[[0]]", "[[11]]"):
        with pytest.raises(RowRefusedError):
            score("alpaca_eval", reply, rules="evalkit")
        assert score("alpaca_eval", reply, rules="strict").points == 0


def test_values_are_over_parsed_rows_or_all() -> None:
    replies = ["[[1]]", "[[2]]", "[[2]]", "none"]
    evalkit = summarize_points([score("alpaca_eval", reply, rules="evalkit") for reply in replies], rules="evalkit")
    assert evalkit.values == {"value": 16.67} and evalkit.unscored == {UNPARSED: 1} and evalkit.scored == 3
    strict = summarize_points([score("alpaca_eval", reply, rules="strict") for reply in replies], rules="strict")
    assert strict.values == {"value": 12.5} and strict.remarks == {UNPARSED: 1} and strict.scored == 4
