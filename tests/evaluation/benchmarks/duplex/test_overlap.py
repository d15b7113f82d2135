"""Full-Duplex-Bench v1.5 on segments, words and waves of known times."""

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks.duplex import overlap
from fac_jax.evaluation.benchmarks.duplex.segments import Segment, Word

RATE = 16000


def test_stop_latency_is_the_length_of_an_overlap() -> None:
    user = [Segment(2.0, 3.0), Segment(8.0, 9.0)]
    model = [Segment(0.5, 2.7), Segment(8.6, 8.9)]
    assert overlap.stop_latencies(user, model) == pytest.approx([0.7, 0.3])
    assert overlap.stop_latencies(user, [Segment(3.0, 4.0)]) == []


def test_pauses_are_closed_before_overlaps_are_taken() -> None:
    assert overlap.stop_latencies([Segment(2.0, 2.2), Segment(2.8, 3.5)], [Segment(1.0, 4.0)]) == pytest.approx([1.5])
    assert overlap.stop_latencies([Segment(1.0, 4.0)], [Segment(2.0, 2.2), Segment(2.8, 3.5)]) == pytest.approx(
        [0.2, 0.7]
    ), "a pause of 0.6 s of the model stays"


def test_response_latency_is_from_the_last_end_to_the_next_start() -> None:
    user = [Segment(0.0, 1.0), Segment(2.0, 3.0), Segment(9.0, 9.5)]
    model = [Segment(0.5, 1.2), Segment(3.4, 5.0)]
    assert overlap.response_latencies(user, model) == pytest.approx([0.4])


def test_words_a_minute_before_and_after_the_overlap() -> None:
    said = [Word("a", 0.0, 0.5), Word("b", 0.5, 1.0), Word("c", 1.0, 1.6), Word("d", 3.0, 3.4)]
    before, after = overlap.before_and_after(said, 1.2)
    assert [word.text for word in before] == ["a", "b"] and [word.text for word in after] == ["c", "d"]
    assert overlap.words_per_minute(before) == pytest.approx(120) and overlap.words_per_minute([]) == 0


def test_a_sudden_end_is_a_cut_off_and_a_slow_one_is_not() -> None:
    time = np.arange(3 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 220 * time)
    began = 1e-3 + (time >= 0.99)
    assert overlap.cut_offs(tone * began * np.where(time < 1.5, 1.0, 1e-3), RATE) == pytest.approx([1.5])
    fading = np.clip(2.5 - time, 1e-3, 1.0) ** 2
    assert overlap.cut_offs(tone * began * fading, RATE) == []


def test_the_floor_of_a_cut_off_is_that_of_the_last_thirty_frames() -> None:
    time = np.arange(4 * RATE) / RATE
    tone = 0.3 * np.sin(2 * np.pi * 220 * time) * (1e-3 + ((time >= 0.99) & (time < 3.0)))
    assert overlap.cut_offs(tone, RATE) == [], "two seconds of even level before the end"


def test_only_an_interruption_is_to_be_answered() -> None:
    assert overlap.handled("interruption", "RESPOND") and not overlap.handled("backchannel", "RESPOND")
    assert overlap.handled("background-speech", "RESUME") and not overlap.handled("talking-to-others", "UNKNOWN")
