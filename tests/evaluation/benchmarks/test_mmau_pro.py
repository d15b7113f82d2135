"""MMAU-Pro: numbers of a judge, nearest choices, overall value."""

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks import mmau_pro
from fac_jax.evaluation.benchmarks.groups import Group

REPLY = "CORRECTNESS: 4 - fine\nRelevance:5/5\nCOMPLETENESS: 2\nCLARITY: 4\nOVERALL: 3.5 - good"


def test_numbers_are_read_by_name() -> None:
    assert mmau_pro.read_open_judgement(REPLY) == (4, 5, 2, 4, 3.5)
    assert mmau_pro.score_open(REPLY).points == 70


def test_an_overall_of_three_or_none_is_the_mean_of_the_others() -> None:
    for text in ("OVERALL: 3.5 - good", "nothing"), ("OVERALL: 3.5 - good", "OVERALL: 3"):
        assert mmau_pro.read_open_judgement(REPLY.replace(*text)).overall == 3.75
    assert mmau_pro.read_open_judgement("") == (3, 3, 3, 3, 3)


def test_quirks_of_the_names() -> None:
    assert mmau_pro.read_open_judgement("INCORRECTNESS: 1\nCORRECTNESS: 5").correctness == 1
    assert mmau_pro.read_open_judgement("**CLARITY**: 5").clarity == 3


def test_the_nearest_choice_is_of_the_largest_cosine_and_the_first_of_equals() -> None:
    choices = np.array([[0.0, 9.0], [1.0, 0.1], [2.0, 0.2]])
    assert mmau_pro.nearest_choice(np.array([5.0, 0.0]), choices) == 1
    row = {"choices": ["x", "y", "z"], "answer": "y"}
    assert mmau_pro.score_closed(row, np.array([5.0, 0.0]), choices).points == 100
    assert mmau_pro.score_closed(row, np.array([0.0, 1.0]), choices).points == 0
    assert mmau_pro.score_closed({"choices": ["x"], "answer": "x"}, choices[0], choices[:1]).cause == "no choices"


def test_the_overall_value_is_the_mean_of_all_rows() -> None:
    assert mmau_pro.overall({"sound": Group(50.0, 3), "open": Group(70.0, 1)}) == pytest.approx(55)
    assert mmau_pro.overall({}) == 0
