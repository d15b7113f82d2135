"""Shares of calls with their Wilson intervals, and latencies as median and 90th percentile."""

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

NORMAL: Final = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


class Share(NamedTuple):
    """A share in [0, 1] of calls, and its 95 % Wilson interval; all three are nan for no calls."""

    value: float
    low: float
    high: float
    count: int


class Latency(NamedTuple):
    """Latencies in seconds: median, 90th percentile, mean and their number; nan where there are none."""

    median: float
    p90: float
    mean: float
    count: int


def share(outcomes: Iterable[bool]) -> Share:
    """Returns the share of True. Failed calls belong into it as False: a call that is left out flatters."""
    found = list(outcomes)
    return share_of(sum(found), len(found))


def share_of(successes: int, count: int) -> Share:
    """Returns the share of successes among `count` trials."""
    if not count:
        return Share(math.nan, math.nan, math.nan, 0)
    value, weight = successes / count, NORMAL**2 / count
    centre = value + weight / 2
    reach = NORMAL * math.sqrt(value * (1 - value) / count + weight / (4 * count))
    # With no success, or no failure, the value is an end of the interval; rounding must not move it.
    low, high = min(value, (centre - reach) / (1 + weight)), max(value, (centre + reach) / (1 + weight))
    return Share(value, low, high, count)


def latency(values: Iterable[float | None]) -> Latency:
    """Summarises latencies in seconds; None, a call without one, is left out: its failure is in the share beside it."""
    found = [value for value in values if value is not None]
    if not found:
        return Latency(math.nan, math.nan, math.nan, 0)
    return Latency(float(np.median(found)), float(np.percentile(found, 90)), sum(found) / len(found), len(found))
