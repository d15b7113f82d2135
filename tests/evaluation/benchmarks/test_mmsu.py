"""MMSU: letters of replies, and the letter that an empty reply takes over."""

import pytest

from fac_jax.evaluation.benchmarks import mmsu

ROW = {
    "choice_a": "rising",
    "choice_b": "falling",
    "choice_c": "flat",
    "choice_d": "none",
    "answer_gt": "falling",
    "category": "Perception",
    "sub-category": "Prosody",
}


@pytest.mark.parametrize(
    ("reply", "letter"),
    [("B", "B"), (" B. falling", "B"), ("The answer is B.", "B"), ("(B)", "B"), ("Because", "B"), ("\nB\n", "B"),
     ("(B) falling", None), ("b", None), ("E", None), ("The answer is B", None), ("", None)],
)  # fmt: skip
def test_letters(reply: str, letter: str | None) -> None:
    assert mmsu.read_letter(reply) == letter


def test_officially_an_empty_reply_takes_the_letter_read_last() -> None:
    replies = ["B", "?", "", None, "A", "None"]
    found = mmsu.score([ROW] * 6, replies)
    assert [one.points for one in found] == [100, None, 100, None, 0, 0]
    assert found[1].cause == found[3].cause == "unparsed"


def test_an_empty_reply_with_no_letter_before_it_is_refused() -> None:
    found = mmsu.score([ROW] * 3, ["?", "", "B"])
    assert [one.cause for one in found] == ["unparsed", "refused", None]


def test_strictly_every_row_is_scored_and_nothing_carried_over() -> None:
    assert [one.points for one in mmsu.score([ROW] * 4, ["B", "", None, "?"], "strict")] == [100, 0, 0, 0]


def test_accuracies_are_over_scored_rows() -> None:
    rows = [ROW, ROW | {"sub-category": "Accent"}, ROW]
    found = mmsu.accuracies(rows, mmsu.score(rows, ["B", "C", "?"]))
    assert found["total"] == {"total": (50.0, 2)}
    assert found["sub-category"] == {"Perception/Prosody": (100.0, 1), "Perception/Accent": (0.0, 1)}
