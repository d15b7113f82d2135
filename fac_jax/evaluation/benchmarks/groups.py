"""Means of points within groups of rows, such as the accuracy of every category."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fac_jax.evaluation.benchmarks.base import Outcome


class Group(NamedTuple):
    """The mean of the points of a group, in the unit of the points, and the number of rows that are scored."""

    mean: float
    rows: int


def group_means(names: Iterable[str | None], outcomes: Sequence[Outcome]) -> dict[str, Group]:
    """Returns the mean of every group, in the order in which groups first occur.

    A row whose name is None is in no group, and a row that is not scored counts nowhere. A group without scored rows
    is left out.
    """
    points: dict[str, list[float]] = {}
    for name, outcome in zip(names, outcomes, strict=True):
        if name is not None and outcome.points is not None:
            points.setdefault(name, []).append(outcome.points)
    return {name: Group(sum(found) / len(found), len(found)) for name, found in points.items()}
