"""Scores of a scenario: shares of its calls with Wilson intervals, and latencies as median and 90th percentile."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final

from fac_jax.audio.mel import RATE
from fac_jax.evaluation.benchmarks.duplex.summary import Share, share
from fac_jax.evaluation.calls.base import Outcome

MEDIAN, P90 = 0.5, 0.9
DIGITS: Final = 4


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of the calls of a scenario.

    Attributes:
      success: share of calls.
      latency_median: seconds that half of all calls stay within; None where less than half of them react at all.
      latency_p90: the same for nine tenths.
      answer: share of right answers among the calls that ask something, by their text; None if none does.
      heard: the same by what their speech sounds like; None if nobody listened.
      onsets: mean number of replies of a call.
      failures: calls by what failed.
      behaviours: calls by what the assistant did about speech over its own.
    """

    success: Share
    latency_median: float | None
    latency_p90: float | None
    answer: Share | None
    heard: Share | None
    onsets: float
    failures: dict[str, int]
    behaviours: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Returns plain values."""
        return {
            "calls": self.success.count,
            "success": round(self.success.value, DIGITS),
            "interval": _interval(self.success),
            "latency_median": self.latency_median,
            "latency_p90": self.latency_p90,
            **_named("answer", self.answer),
            **_named("heard", self.heard),
            "onsets_per_call": round(self.onsets, DIGITS),
            "failures": self.failures,
            "behaviours": self.behaviours,
        }


def scores(outcomes: Sequence[Outcome], heard: Sequence[Outcome] = ()) -> Scores:
    """Summarises one call or more. A call without a reaction counts as one that takes forever.

    `heard` are the verdicts on the same calls by what was heard of the replies in place of their text.
    """
    latencies = [one.latency for one in outcomes]
    return Scores(
        success=share(one.success for one in outcomes),
        latency_median=within(latencies, MEDIAN),
        latency_p90=within(latencies, P90),
        answer=_right(outcomes),
        heard=_right(heard),
        onsets=sum(one.onsets for one in outcomes) / len(outcomes),
        failures=_counted(one.failure for one in outcomes if one.failure),
        behaviours=_counted(one.behaviour for one in outcomes if one.behaviour is not None),
    )


def _right(outcomes: Sequence[Outcome]) -> Share | None:
    answers = [one.answer for one in outcomes if one.answer is not None]
    return share(answers) if answers else None


def within(latencies: Iterable[int | None], part: float) -> float | None:
    """Returns the least latency in seconds that a part of all calls stay within, of latencies in samples.

    None, a call without one, is longer than any; the result is None if it would be one of these.
    """
    found = sorted(math.inf if latency is None else latency for latency in latencies)
    value = found[max(0, math.ceil(part * len(found) - 1e-9) - 1)]
    return None if math.isinf(value) else round(value / RATE, DIGITS)


def _named(name: str, found: Share | None) -> dict[str, Any]:
    value, interval = (None, None) if found is None else (round(found.value, DIGITS), _interval(found))
    return {name: value, f"{name}_interval": interval}


def _interval(found: Share) -> list[float]:
    return [round(found.low, DIGITS), round(found.high, DIGITS)]


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(collections.Counter(values).items()))
