"""Yes and no of judges."""

import ast
import os
import subprocess
import sys

import pytest

from fac_jax.evaluation.benchmarks.base import Outcome
from fac_jax.evaluation.benchmarks.qa_votes import (
    INVALID,
    TIE,
    majority,
    score_votes,
    score_yes_no,
    summarize_sd_qa,
    summarize_yes_no,
    yes_no,
)


@pytest.mark.parametrize(
    ("replies", "right"),
    [
        (["Yes", "YES", "no"], True),
        (["Yes", "Yes.", "no"], None),  # "yes." is another vote
        (["yes.", "Yes!", "no"], False),  # whichever wins
        (["yes", "no", ""], None),
        (["no", "", "yes"], False),  # the empty text always comes before
        (["", "no"], False),
    ],
)
def test_majorities(replies: list[str], right: bool | None) -> None:
    assert majority(replies) is right


def test_ties_are_what_string_hashing_decides() -> None:
    ties = [["yes", "no", ""], ["no", "", "yes"], ["", "yes", "no"], ["no", "yes"]]
    program = f"print([max(set(v), key=v.count) == 'yes' for v in {ties}])"
    found = set()
    for seed in range(1, 25):
        environment = os.environ | {"PYTHONHASHSEED": str(seed)}
        found.add(subprocess.check_output([sys.executable, "-S", "-c", program], env=environment, text=True))
    runs = [ast.literal_eval(line) for line in found]
    for tie, answers in zip(ties, zip(*runs, strict=True), strict=True):
        assert majority(tie) is (None if len(set(answers)) == 2 else answers[0])


def test_a_tie_is_left_out_or_wrong() -> None:
    assert score_votes(["yes", "no"], rules="official").cause == TIE
    assert score_votes(["yes", "no"], rules="strict").points == 0


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("No.\n**Result: YES** \n\n", "correct"),
        ("Yes.\nResult: unknown", "wrong"),  # "no" inside a word
        ("yes\nResult:", "invalid"),
        ("", "invalid"),
        ("no, yes", "correct"),
    ],
)
def test_the_last_line_decides(reply: str, verdict: str) -> None:
    assert yes_no(reply) == verdict


def test_invalid_replies_leave_the_denominator_unless_strict() -> None:
    replies = ["yes", "no", "no", "?"]
    evalkit = summarize_yes_no([score_yes_no(reply, rules="evalkit") for reply in replies], rules="evalkit")
    assert evalkit.values == {"acc": 33.33} and evalkit.unscored == {INVALID: 1}
    strict = summarize_yes_no([score_yes_no(reply, rules="strict") for reply in replies], rules="strict")
    assert strict.values == {"acc": 25} and strict.remarks == {INVALID: 1}


def test_sd_qa_is_the_mean_of_judge_and_pedant() -> None:
    votes = [score_votes(replies, rules="official") for replies in (["yes"], ["no"], ["yes", "no"])]
    summary = summarize_sd_qa(votes, [Outcome(100.0), Outcome(0.0), Outcome(100.0), Outcome(100.0)])
    assert summary.values == {"gpt": 50, "panda": 75, "mean": 62.5} and summary.unscored == {TIE: 1}
    assert "mean" not in summarize_sd_qa(votes, []).values
