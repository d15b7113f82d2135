"""The floor of calls: hand-made stretches of speech against figures worked out by hand."""

import pytest

from fac_jax.evaluation.benchmarks.duplex.floor import distance, floor, histogram, measured, together, units
from fac_jax.evaluation.benchmarks.duplex.segments import Segment

# A talks, pauses for 0.5 s and goes on; B answers 0.3 s later, A says "mm-hm" into it, and starts 0.4 s before its end.
A = [Segment(0.0, 1.0), Segment(1.1, 2.0), Segment(2.5, 4.0), Segment(5.0, 5.6), Segment(6.6, 8.0)]
B = [Segment(4.3, 7.0)]


def test_units_are_bounded_by_a_fifth_of_a_second() -> None:
    assert units(A) == [Segment(0.0, 2.0), *A[2:]]
    assert units([Segment(0, 1), Segment(1.2, 2)]) == [Segment(0, 1), Segment(1.2, 2)]  # 0.2 s is a silence


def test_a_call_by_hand() -> None:
    found = floor(A, B, 60.0)
    assert sorted(found.ipus) == pytest.approx(sorted([2.0, 1.5, 0.6, 1.4, 2.7]))
    assert found.pauses == pytest.approx([0.5])
    assert found.gaps == pytest.approx([0.3])
    assert found.overlaps == pytest.approx([0.6, 0.4])
    assert found.offsets == pytest.approx([0.3, -0.4])
    assert found.backchannels == 1
    # The floor is the same for either order of the speakers.
    other = floor(B, A, 60.0)
    assert (other.pauses, other.gaps, other.offsets) == (found.pauses, found.gaps, found.offsets)


def test_a_speaker_who_outlasts_the_other_holds_the_floor() -> None:
    """A silence after both is a pause if the one who ended last goes on."""
    found = floor([Segment(0, 3), Segment(4, 5)], [Segment(1, 2), Segment(6, 7)], 10.0)
    assert found.pauses == (1.0,) and found.gaps == (1.0,) and found.offsets == (1.0,)


def test_several_calls_together() -> None:
    whole = together([floor(A, B, 60.0), floor([], [Segment(0, 1)], 60.0)])
    assert whole.seconds == 120 and len(whole.ipus) == 6 and whole.backchannels == 1
    measure = measured(whole.ipus, whole.seconds)
    assert measure.per_minute == 3 and measure.seconds_per_minute == pytest.approx(9.2 / 2)
    assert measure.quantiles[1] == pytest.approx(1.45)
    assert str(measured((), 60.0).quantiles[0]) == "nan"
    with pytest.raises(ValueError, match="without length"):
        measured((), 0.0)


def test_histogram_of_offsets() -> None:
    edges, counts = histogram([0.3, -0.4, -0.39, 7.0, -9.0])
    assert len(edges) == 120 and edges[0] == -3.0 and sum(counts) == 5
    assert {edges[i]: counts[i] for i in range(120) if counts[i]} == {-3.0: 1, -0.4: 2, 0.3: 1, 2.95: 1}


def test_distance_of_offsets() -> None:
    """The least mean move that turns one set into the other."""
    assert distance([0.0, 1.0], [0.5, 1.5]) == pytest.approx(0.5)
    assert distance([0.2], [0.2, 0.2]) == 0
    with pytest.raises(ValueError, match="no offsets"):
        distance([], [0.1])
