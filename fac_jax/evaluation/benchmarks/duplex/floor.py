"""How two speakers share the floor: stretches of speech, pauses, gaps, overlaps and offsets of floor transfers.

An inter-pausal unit (IPU) is speech between silences of at least 0.2 s. A pause is a silence of both between IPUs of
one speaker, a gap one between IPUs of different speakers, an overlap is where both speak (arXiv 2203.16502, which
arXiv 2410.00037 follows in its table 9). A backchannel is an IPU under 1 s, at least half of it within an IPU of the
other speaker.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from scipy.stats import wasserstein_distance

from fac_jax.evaluation.benchmarks.duplex.segments import Segment, merge

LEAST_SILENCE: Final = 0.2  # seconds
EPSILON: Final = 1e-6  # seconds: times are sums of floats
BIN: Final = 0.05  # seconds of the histogram of offsets
RANGE: Final = (-3.0, 3.0)  # seconds of the histogram; what is outside counts in its first or last bin
BACKCHANNEL: Final = 1.0  # seconds
QUANTILES: Final = (10, 50, 90)


@dataclasses.dataclass(frozen=True)
class Floor:
    """What happens on the floor of a call, or of several together; all in seconds.

    Attributes:
      seconds: length.
      ipus: lengths of the IPUs of both speakers.
      pauses: lengths.
      gaps: lengths.
      overlaps: lengths.
      offsets: of floor transfers: from the end of an IPU to the start of the next one, of the other speaker; negative
        where they overlap. An IPU within one of the other speaker takes no floor.
      backchannels: how many there are.
    """

    seconds: float
    ipus: tuple[float, ...]
    pauses: tuple[float, ...]
    gaps: tuple[float, ...]
    overlaps: tuple[float, ...]
    offsets: tuple[float, ...]
    backchannels: int


@dataclasses.dataclass(frozen=True)
class Measure:
    """Events of one kind: how many and how many seconds of them a minute has, and quantiles of their lengths."""

    per_minute: float
    seconds_per_minute: float
    quantiles: tuple[float, ...]


def units(speech: Iterable[Segment]) -> list[Segment]:
    """Returns the IPUs of one speaker's speech."""
    return merge(speech, LEAST_SILENCE - EPSILON)


def floor(one: Iterable[Segment], other: Iterable[Segment], seconds: float) -> Floor:
    """Returns what happens on the floor of a call of two speakers."""
    both = (units(one), units(other))
    labelled = sorted((segment, speaker) for speaker, found in enumerate(both) for segment in found)
    overlaps = [
        min(a.end, b.end) - max(a.start, b.start)
        for a in both[0]
        for b in both[1]
        if min(a.end, b.end) - max(a.start, b.start) > EPSILON
    ]
    pauses, gaps, offsets = [], [], []
    holder: tuple[Segment, int] | None = None  # the IPU that ends last so far
    for segment, speaker in labelled:
        if holder is not None:
            silence = segment.start - holder[0].end
            if silence > EPSILON:
                (pauses if speaker == holder[1] else gaps).append(silence)
            if speaker != holder[1] and segment.end > holder[0].end:
                offsets.append(silence)
        if holder is None or segment.end > holder[0].end:
            holder = segment, speaker
    return Floor(
        seconds,
        tuple(segment.seconds for segment, _ in labelled),
        tuple(pauses),
        tuple(gaps),
        tuple(overlaps),
        tuple(offsets),
        sum(_is_backchannel(segment, both[1 - speaker]) for segment, speaker in labelled),
    )


def together(floors: Sequence[Floor]) -> Floor:
    """Joins the floors of several calls; offsets and silences do not cross calls."""
    lengths = {
        field.name: tuple(value for found in floors for value in getattr(found, field.name))
        for field in dataclasses.fields(Floor)
        if field.type == tuple[float, ...]
    }
    return Floor(
        seconds=sum(found.seconds for found in floors), backchannels=sum(f.backchannels for f in floors), **lengths
    )


def measured(lengths: Sequence[float], seconds: float) -> Measure:
    """Returns the rates of events in a call of some seconds; quantiles are nan where there is none.

    Raises:
      ValueError: the call has no length.
    """
    if seconds <= 0:
        raise ValueError("rates of calls without length")
    minutes = seconds / 60
    quantiles = np.percentile(lengths, QUANTILES) if lengths else np.full(len(QUANTILES), np.nan)
    return Measure(len(lengths) / minutes, sum(lengths) / minutes, tuple(float(value) for value in quantiles))


def histogram(offsets: Sequence[float]) -> tuple[list[float], list[int]]:
    """Returns the left edges of bins of 50 ms from -3 to 3 s, and how many offsets each has."""
    bins = round((RANGE[1] - RANGE[0]) / BIN)
    places = np.clip(np.floor((np.asarray(offsets) - RANGE[0]) / BIN + EPSILON), 0, bins - 1).astype(int)
    edges = [round(RANGE[0] + BIN * i, 3) for i in range(bins)]
    return edges, np.bincount(places, minlength=bins).tolist()


def distance(offsets: Sequence[float], reference: Sequence[float]) -> float:
    """Returns the Wasserstein-1 distance of two sets of offsets in seconds.

    Raises:
      ValueError: one of them is empty.
    """
    if not offsets or not reference:
        raise ValueError("the distance of no offsets")
    return float(wasserstein_distance(offsets, reference))


def _is_backchannel(segment: Segment, others: Sequence[Segment]) -> bool:
    shared = sum(max(0.0, min(segment.end, b.end) - max(segment.start, b.start)) for b in others)
    return segment.seconds < BACKCHANNEL and shared >= segment.seconds / 2
