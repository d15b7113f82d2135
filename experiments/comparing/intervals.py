"""Confidence intervals of means by bootstrap over seeds, and over the questions of each seed.

Seeds are drawn with replacement. If a figure is a mean over questions, the questions of every drawn seed are drawn too.
Two variants are compared pair by pair: the same seed and the same question. Intervals are percentiles of
`scipy.stats.bootstrap`. Three seeds have only ten different draws, so their intervals are rather too narrow.
"""

import statistics
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import bootstrap

from experiments.comparing.variants import Compared, Variant
from fac_jax.evaluation.reports.comparison import Estimate

LEVEL = 0.95
RESAMPLES = 2000


def estimate(variant: Variant, figure: str) -> Estimate:
    """Estimates a figure of a variant."""
    return _estimate([_values(run, figure, None) for run in variant.runs])


def difference(variant: Variant, baseline: Variant, figure: str) -> Estimate | None:
    """Estimates a figure or cost of a variant minus that of another, over their common seeds; None without any."""
    others = {run.seed: run for run in baseline.runs}
    pairs = [(run, others[run.seed]) for run in variant.runs if run.seed in others]
    if not pairs:
        return None
    values = []
    for one, other in pairs:
        shared = _shared(one.items.get(figure), other.items.get(figure))
        values.append(_values(one, figure, shared) - _values(other, figure, shared))
    return _estimate(values)


def _shared(one: Mapping[str, float] | None, other: Mapping[str, float] | None) -> list[str]:
    return [item for item in one if item in other] if one and other else []


def _values(run: Compared, figure: str, chosen: Sequence[str] | None) -> np.ndarray:
    """Returns the values of all questions `[N]`, or the figure itself `[1]`.

    Args:
      run: the run.
      figure: name of the figure.
      chosen: ids of the questions; an empty list for the figure itself, None for all questions.
    """
    items = run.items.get(figure, {})
    names = list(items) if chosen is None else chosen
    return np.array([items[name] for name in names] if names else [{**run.cost, **run.figures}[figure]])


def _estimate(by_seed: Sequence[np.ndarray]) -> Estimate:
    means = [float(values.mean()) for values in by_seed]
    low, high = _interval(by_seed)
    spread = statistics.stdev(means) if len(means) > 1 else None
    return Estimate(statistics.fmean(means), spread, low, high, len(means), min(map(len, by_seed)))


def _interval(by_seed: Sequence[np.ndarray]) -> tuple[float, float] | tuple[None, None]:
    rng = np.random.default_rng(0)  # a comparison gives the same intervals every time
    ways = {"confidence_level": LEVEL, "n_resamples": RESAMPLES, "method": "percentile", "vectorized": True, "rng": rng}

    def means(drawn: np.ndarray, axis: int) -> np.ndarray:
        """Computes the means of drawn seeds `[.., S]`, each over newly drawn questions."""
        found = np.empty(drawn.shape)
        for seed, values in enumerate(by_seed):
            here = drawn == seed
            found[here] = values[rng.integers(len(values), size=(int(here.sum()), len(values)))].mean(axis=1)
        return found.mean(axis=axis)

    if all(np.ptp(np.concatenate([values, by_seed[0]])) == 0 for values in by_seed):
        value = float(by_seed[0][0])
        return (value, value) if sum(map(len, by_seed)) > 1 else (None, None)
    if len(by_seed) > 1:
        found = bootstrap((np.arange(len(by_seed)),), means, **ways).confidence_interval
    elif len(by_seed[0]) > 1:
        found = bootstrap((by_seed[0],), np.mean, **ways).confidence_interval
    else:
        return None, None
    return float(found.low), float(found.high)
