"""Letters that replies name, and what becomes of replies that name none."""

import json
from pathlib import Path

import pytest

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Rules
from fac_jax.evaluation.benchmarks.choices import LETTERS, RANDOM, UNPARSED, read_letter, score, summarize_letters


@pytest.fixture
def assets(tmp_path: Path) -> Assets:
    lists = {"mcq_official": ["answer is @", " @."], "mcq_ultraeval": ["choose @"]}
    (tmp_path / "phrases.json").write_text(json.dumps({k: {"phrases": v} for k, v in lists.items()}), "utf-8")
    return Assets(tmp_path)


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("Not a. The answer is C", "C"),  # the first phrase decides, not the first place
        ("I like d. and a.", "A"),  # of one phrase, the first letter
        ("The answer is both", "B"),  # no word boundary
        ("b", "B"),
        ("b) since", "B"),
        ("b\n", None),
        ("<2>  d", "D"),
        (" d", None),  # only after a mark is it stripped
        ("", None),
    ],
)
def test_letters(reply: str, letter: str | None) -> None:
    assert read_letter(reply, ["answer is @", " @."]) == letter


def test_a_reply_without_letter_is_random_or_wrong(assets: Assets) -> None:
    replies, references = ["none"] * 400, ["A"] * 400
    official = score(replies, references, rules="official", assets=assets)
    assert {outcome.detail["letter"] for outcome in official} == set(LETTERS)
    assert official == score(replies, references, rules="evalkit", assets=assets)
    assert official != score(replies, references, rules="official", assets=assets, seed=1)
    assert summarize_letters(official).remarks == {RANDOM: 400}
    strict = summarize_letters(score(replies, references, rules="strict", assets=assets))
    assert strict.remarks == {UNPARSED: 400}
    assert strict.values == {"acc": 0, "fail": 100, "acc_unparsed_wrong": 0, "acc_expected": 25}


def test_ultraeval_has_phrases_of_its_own(assets: Assets) -> None:
    replies = ["I choose b", "answer is b"]
    expected: dict[Rules, list[str | None]] = {"ultraeval": ["B", None], "strict": [None, "B"]}
    for rules, letters in expected.items():
        outcomes = score(replies, ["B", "B"], rules=rules, assets=assets)
        assert [outcome.detail["letter"] for outcome in outcomes] == letters
        assert summarize_letters(outcomes).values["acc"] == 50


def test_values_count_each_row_once(assets: Assets) -> None:
    outcomes = score(["a.", "b) ", "a", "none"], ["A", "B", "C", "D"], rules="strict", assets=assets)
    values = summarize_letters(outcomes).values
    assert values == {"acc": 50, "fail": 25, "acc_unparsed_wrong": 50, "acc_expected": 56.25}
