"""AlpacaEval and CommonEval of VoiceBench: what a judge says of a reply, from 1 to 5 (docs/evaluation.md)."""

import re
from collections.abc import Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.summary import Summary, mean, mean_points, summarize

UNPARSED: Final = "unparsed"
LEAST: Final = 1.0
MOST: Final = 5.0
_BRACKETS: Final = re.compile(r"\[\[(\d+)\]\]")


def read_number(reply: str) -> float | None:
    """Returns the number that a judge's reply is, else the first [[n]] in it, else None.

    A number is what Python's `float` takes, of any size: "4.", "1e0" and "nan" are numbers, "4/5" is none.
    """
    try:
        return float(reply)
    except ValueError:
        found = _BRACKETS.search(reply)
        return float(found[1]) if found else None


def score(replies: Sequence[str], *, rules: Rules) -> Outcome:
    """Scores one row by the judge's replies; points are their mean, from 1 to 5.

    Args:
      replies: one or more replies of the judge to the same question.
      rules: "official" reads all replies, "evalkit" the first, both without a check of the range; "strict" reads all
        and leaves out those that are no number from 1 to 5.

    Raises:
      RowRefusedError: under "official", a reply holds no number.
    """
    numbers = [read_number(reply) for reply in (replies[:1] if rules == "evalkit" else replies)]
    if rules == "strict":
        numbers = [number if number is not None and LEAST <= number <= MOST else None for number in numbers]
    read = [number for number in numbers if number is not None]
    if rules == "official" and len(read) < len(numbers):
        raise RowRefusedError("the judge gave no number")
    unparsed = len(numbers) - len(read)
    detail = {"numbers": read, "unparsed": unparsed} | ({"remark": "partly unparsed"} if unparsed and read else {})
    points = mean(read)
    return Outcome(points, None if points is not None else UNPARSED, detail)


def summarize_numbers(outcomes: Sequence[Outcome], *, rules: Rules) -> Summary:
    """Returns `score`, the mean from 1 to 5 over the scored rows.

    "official" takes the mean of all replies of all rows together, "evalkit" rounds to 2 decimals.
    """
    if rules == "official":
        value = mean(number for outcome in outcomes for number in outcome.detail.get("numbers", ()))
    else:
        value = mean_points(outcomes, 2 if rules == "evalkit" else None)
    return summarize(outcomes, {"score": value})
