"""MMAU test-mini: the official match of words, and the question that Kimi-Audio-Evalkit shows to its judge.

Sources: Sakshi113/MMAU and MoonshotAI/Kimi-Audio-Evalkit (docs/evaluation.md). Kimi-Audio-Evalkit, which the README
of the model names, has an LLM judge read the reply; its yes or no is read as for all its judges. The match of words is
the benchmark's own rule and needs no judge.
"""

import re
from collections.abc import Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.base import Outcome, Row, Rules
from fac_jax.evaluation.benchmarks.groups import Group, group_means
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG

GROUPINGS: Final = ("task", "difficulty", "sub-category")
TOTAL: Final = "total"
NO_REPLY: Final = "no reply"


def judge_question(row: Row) -> str:
    """Returns what Kimi-Audio-Evalkit shows its judge as the question: "(A) x (B) y .." on a line below it."""
    choices = " ".join(f"({chr(ord('A') + i)}) {choice}" for i, choice in enumerate(row["choices"]))
    return f"{row['question']}\n{choices}"


def string_match(answer: str, choices: Sequence[str], reply: str) -> bool:
    """Returns whether a reply has all words of the answer and none that only other choices have.

    A choice of the same words as the answer is no other choice. A reply without words is wrong. A reply of the letter
    alone is therefore wrong, and "(A) Dog barking" is wrong if another choice has the word "a".
    """
    wanted, given = _words(answer), _words(reply)
    others = set[str]().union(*(_words(choice) for choice in choices)) - wanted
    return bool(given) and wanted <= given and not others & given


def score(row: Row, reply: str | None, rules: Rules = "official") -> Outcome:
    """Scores a reply by `string_match`, 100 or 0 points.

    Args:
      row: a row of mmau/test-mini: answer and choices.
      reply: the reply, or None where the model gave none.
      rules: "official" leaves a row without a reply out; under "strict" it is wrong.
    """
    if reply is None:
        return Outcome(WRONG, detail={"remark": NO_REPLY}) if rules == "strict" else Outcome(None, NO_REPLY)
    return Outcome(RIGHT if string_match(row["answer"], row["choices"], reply) else WRONG)


def accuracies(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> dict[str, dict[str, Group]]:
    """Returns the accuracy in percent of every task, difficulty and sub-category, and under "total" of all rows."""
    found = {key: group_means([row.get(key) for row in rows], outcomes) for key in GROUPINGS}
    return found | {TOTAL: group_means([TOTAL] * len(rows), outcomes)}


def _words(text: str) -> set[str]:
    return set(re.findall(r"\b\w+\b", text.lower()))
