"""AlpacaEval of UltraEval-Audio: what a judge says of a spoken reply, from 1 to 10 (docs/evaluation.md)."""

import re
from collections.abc import Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.summary import WRONG, Summary, mean_points, summarize

UNPARSED: Final = "unparsed"
POINTS: Final = 10.0  # of one step of the judge's grade, as the paper prints it
_PRINTED: Final = 10.0  # UltraEval-Audio prints a value ten times as large
_MOST: Final = 10
_BRACKETS: Final = re.compile(r"\[\[(\d+)\]\]")


def read_grade(reply: str) -> int | None:
    """Returns the first whole number in double brackets, of any size, or None."""
    found = _BRACKETS.search(reply)
    return int(found[1]) if found else None


def score(reply: str, *, rules: Rules) -> Outcome:
    """Scores one row by the judge's reply: 10 points for each step of its grade, so from 10 to 100.

    Args:
      reply: what the judge wrote.
      rules: "official" does not check the range; under "strict" a grade that is missing or not from 1 to 10 counts as
        0 points.

    Raises:
      RowRefusedError: under "official", the judge gave no grade.
    """
    grade = read_grade(reply)
    if rules == "strict" and not (grade is not None and 1 <= grade <= _MOST):
        return Outcome(WRONG, detail={"remark": UNPARSED})
    if grade is None:
        raise RowRefusedError("the judge gave no grade")
    return Outcome(POINTS * grade)


def summarize_grades(outcomes: Sequence[Outcome]) -> Summary:
    """Returns `score`, the mean points as the paper prints them, and `printed`, what UltraEval-Audio itself prints."""
    score = mean_points(outcomes)
    return summarize(outcomes, {"score": score, "printed": None if score is None else _PRINTED * score})
