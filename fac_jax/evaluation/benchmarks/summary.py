"""What a benchmark prints of the outcomes of its rows: values, and how many rows had no score and why."""

import collections
import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence

from fac_jax.evaluation.benchmarks.base import Outcome

RIGHT = 100.0  # points of a right row, where the value is a percentage
WRONG = 0.0


@dataclasses.dataclass(frozen=True)
class Summary:
    """Values of a benchmark, and the rows that they come from.

    Attributes:
      values: the printed values by name; a value that no row counts for is absent.
      rows: number of rows.
      scored: number of rows with points.
      unscored: number of rows without points, by their cause.
      remarks: number of scored rows that need a word, by `detail["remark"]`, such as "unparsed" for a reply that was
        counted as wrong because it could not be read.
    """

    values: Mapping[str, float]
    rows: int
    scored: int
    unscored: Mapping[str, int]
    remarks: Mapping[str, int]


def summarize(outcomes: Sequence[Outcome], values: Mapping[str, float | None]) -> Summary:
    """Returns the values, but those that are None, together with the counts of the outcomes."""
    unscored = collections.Counter(outcome.cause for outcome in outcomes if outcome.cause is not None)
    remarks = collections.Counter(
        outcome.detail["remark"] for outcome in outcomes if outcome.points is not None and "remark" in outcome.detail
    )
    known = {name: value for name, value in values.items() if value is not None}
    return Summary(known, len(outcomes), len(outcomes) - unscored.total(), dict(unscored), dict(remarks))


def mean(numbers: Iterable[float], digits: int | None = None) -> float | None:
    """Returns the mean, rounded to a number of decimals if one is given; None for the mean of nothing."""
    numbers = list(numbers)
    if not numbers:
        return None
    found = statistics.fmean(numbers)
    return found if digits is None else round(found, digits)


def mean_points(outcomes: Iterable[Outcome], digits: int | None = None) -> float | None:
    """Returns the mean points of the scored rows, as `mean` does."""
    return mean((outcome.points for outcome in outcomes if outcome.points is not None), digits)
