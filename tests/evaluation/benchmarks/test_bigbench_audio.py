"""Big Bench Audio: words of a judge, and answers that are matched without one."""

import pytest

from fac_jax.evaluation.benchmarks import bigbench_audio
from fac_jax.evaluation.benchmarks.base import RowRefusedError


@pytest.mark.parametrize(
    ("reply", "points"), [("CORRECT", 100), (" incorrect.", 0), ("Correct or incorrect?", None), ("Yes", None)]
)
def test_a_judge_says_one_of_two_words(reply: str, points: float | None) -> None:
    assert bigbench_audio.score_judged(reply).points == points


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("valid", "The argument is valid.", True),
        ("invalid", "It seems valid at first, but it is invalid.", True),
        ("invalid", "So it isn't valid.", True),
        ("valid", "This is not deductively valid.", False),
        ("Yes", "No turn is left over, so the answer is yes.", True),
        ("no", "Yes.", False),
        ("12", "You have five fruits and seven drums: twelve in total", True),
        ("21", "Twenty-one.", True),
        ("21", "That is 20, and one more is 21", True),
        ("7", "17", False),
        ("7", None, False),
        ("7", "I cannot count them.", False),
    ],
)
def test_the_last_word_that_could_be_an_answer_counts(answer: str, reply: str | None, right: bool) -> None:
    assert bigbench_audio.score_closed({"official_answer": answer}, reply).points == 100 * right


def test_an_open_answer_is_refused() -> None:
    with pytest.raises(RowRefusedError, match="Paris"):
        bigbench_audio.score_closed({"official_answer": "Paris"}, "Paris")
