"""A benchmark's value as weighted ratios of sums over rows, and its 95 % intervals.

Nearly every value of the paper has this form: an accuracy is points / rows, a word error rate is errors / reference
words, IFEval is the mean of four accuracies, and VStyle the weighted mean of the means of its parts. One bootstrap over
rows serves them all.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest

from fac_jax.evaluation.benchmarks.summary import RIGHT

LEVEL: Final = 0.95
RESAMPLES: Final = 2000
SEED: Final = 0  # of the draws, so that a report is the same when it is made again
CHUNK: Final = 200  # draws that are held in memory at a time


@dataclasses.dataclass(frozen=True, eq=False)
class Measure:
    """A value: `scale` times the weighted mean over k of sum_n numerators[n, k] / sum_n denominators[n, k].

    A ratio whose denominators are all 0 drops out, and the weights of the others are normalised.

    Attributes:
      ids: ids of the rows, [N].
      numerators: [N, K].
      denominators: [N, K]; 0 in a row that does not count.
      weights: [K].
      scale: 100 for a percentage, 1 for a mean of points.
    """

    ids: Sequence[str]
    numerators: Float[np.ndarray, "N K"]
    denominators: Float[np.ndarray, "N K"]
    weights: Float[np.ndarray, " K"]
    scale: float = 1.0

    def value(self) -> float | None:
        """Returns the value; None if no row counts."""
        found = float(self._values(np.ones((1, len(self.ids)), np.int64))[0])
        return None if np.isnan(found) else found

    def interval(self) -> tuple[float, float] | None:
        """Returns the 95 % interval of the value; None for fewer than two rows that count.

        It is Wilson's for a share of right rows, which is right also where all or none are, and otherwise a bootstrap
        over rows.
        """
        if np.count_nonzero(self.denominators.any(axis=1)) < 2:
            return None
        if self._is_share():
            counted = self.denominators[:, 0] == 1
            right = np.count_nonzero(self.numerators[counted])
            found = binomtest(right, np.count_nonzero(counted)).proportion_ci(LEVEL, "wilson")
            return self.scale * RIGHT * found.low, self.scale * RIGHT * found.high
        return _percentiles(np.concatenate([self._values(counts) for counts in _draws(len(self.ids))]))

    def difference(self, other: "Measure") -> tuple[float, tuple[float, float]] | None:
        """Compares with the value of another model on the rows that both have, drawn together.

        Returns:
          this value minus the other, and its 95 % interval; None for fewer than two common rows.
        """
        theirs = {name: i for i, name in enumerate(other.ids)}
        pairs = [(i, theirs[name]) for i, name in enumerate(self.ids) if name in theirs]
        if len(pairs) < 2:
            return None
        mine, yours = self._rows([i for i, _ in pairs]), other._rows([j for _, j in pairs])
        first, second = mine.value(), yours.value()
        if first is None or second is None:
            return None
        found = np.concatenate([mine._values(counts) - yours._values(counts) for counts in _draws(len(pairs))])
        return first - second, _percentiles(found)

    def to_json(self) -> dict[str, Any]:
        """Returns what a report stores, the inverse of `from_json`."""
        return {
            "weights": self.weights.tolist(),
            "scale": self.scale,
            "rows": {
                name: [n.tolist(), d.tolist()]
                for name, n, d in zip(self.ids, self.numerators, self.denominators, strict=True)
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Measure":
        """Reads what `to_json` has stored."""
        weights = np.array(stored["weights"], np.float64)
        rows = np.array(list(stored["rows"].values()), np.float64).reshape(-1, 2, len(weights))
        return cls(list(stored["rows"]), rows[:, 0], rows[:, 1], weights, stored["scale"])

    def _is_share(self) -> bool:
        """Returns whether every row that counts has 0 points or all."""
        one = len(self.weights) == 1 and bool(np.isin(self.denominators, (0, 1)).all())
        return one and bool(np.isin(self.numerators, (0, RIGHT)).all())

    def _rows(self, chosen: Sequence[int]) -> "Measure":
        ids = [self.ids[i] for i in chosen]
        rows = np.array(chosen)
        return dataclasses.replace(
            self, ids=ids, numerators=self.numerators[rows], denominators=self.denominators[rows]
        )

    def _values(self, counts: Int[np.ndarray, "R N"]) -> Float[np.ndarray, " R"]:
        """Returns the values of samples in which row n occurs counts[:, n] times; nan where no row counts."""
        numerators, denominators = counts @ self.numerators, counts @ self.denominators
        some = denominators > 0
        ratios = np.divide(numerators, denominators, out=np.zeros_like(numerators), where=some)
        weights = (some * self.weights).sum(axis=1)
        weighted = (ratios * some * self.weights).sum(axis=1)
        return self.scale * np.divide(weighted, weights, out=np.full_like(weighted, np.nan), where=weights > 0)


def mean(ids: Sequence[str], points: Sequence[float | None], scale: float = 1.0) -> Measure:
    """Returns the mean of the points of those rows that have any."""
    counted = np.array([[point is not None] for point in points], np.float64).reshape(-1, 1)
    numerators = np.array([[point or 0.0] for point in points], np.float64).reshape(-1, 1)
    return Measure(ids, numerators, counted, np.ones(1), scale)


def parts(
    ids: Sequence[str], points: Sequence[float | None], part: Sequence[str], weights: Mapping[str, float]
) -> Measure:
    """Returns the weighted mean of the means of parts, of which every row is in one."""
    column = {name: k for k, name in enumerate(weights)}
    numerators, denominators = np.zeros((2, len(ids), len(column)))
    for row, (point, name) in enumerate(zip(points, part, strict=True)):
        if point is not None:
            numerators[row, column[name]], denominators[row, column[name]] = point, 1
    return Measure(ids, numerators, denominators, np.array(list(weights.values()), np.float64))


def _draws(rows: int) -> Iterator[Int[np.ndarray, "R N"]]:
    """Yields how often each row occurs in every draw of as many rows, in chunks of draws."""
    generator = np.random.default_rng(SEED)
    chances = np.full(rows, 1 / rows)
    for _ in range(RESAMPLES // CHUNK):
        yield generator.multinomial(rows, chances, size=CHUNK)


def _percentiles(values: Float[np.ndarray, " R"]) -> tuple[float, float]:
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
