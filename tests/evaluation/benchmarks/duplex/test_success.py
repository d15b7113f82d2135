"""Rates of right turns, NVIDIA's rules, and the means of Full-Duplex-Bench v2."""

import math

import pytest
from scipy.stats import binomtest

from fac_jax.evaluation.benchmarks.duplex import examiner, success, summary
from fac_jax.evaluation.benchmarks.duplex.segments import Segment, Word


@pytest.mark.parametrize(
    ("speech", "failure"),
    [([], "silent"), ([(4.7, 6.0)], "early"), ([(4.85, 6.0)], None), ([(8.1, 9.5)], "late"), ([(7.9, 9.5)], None),
     ([(5.5, 6.0)], "short"), ([(5.5, 6.0), (6.4, 6.8)], None), ([(5.5, 5.8), (7.0, 9.0)], "short"),
     ([(1.0, 1.3), (5.5, 8.0)], "early")],
)  # fmt: skip
def test_a_question_is_answered_in_time_and_at_some_length(speech: list, failure: str | None) -> None:
    assert success.answered([Segment(*one) for one in speech], [], 5.0).failure == failure


def test_four_words_are_enough_in_less_than_a_second() -> None:
    said = [Word("w", 5.5 + i / 10, 5.6 + i / 10) for i in range(4)]
    assert success.answered([Segment(5.5, 5.9)], said, 5.0) == (None, pytest.approx(0.5))
    assert success.answered([Segment(5.5, 5.9)], said[1:], 5.0).failure == "short"


def test_turns_are_right_near_the_end_of_a_users_segment() -> None:
    user = [Segment(0.0, 2.0), Segment(5.0, 7.0), Segment(9.0, 9.5)]
    model = [Segment(2.5, 4.0), Segment(6.2, 8.0), Segment(12.0, 13.0)]
    found = success.turn_taking([(user, model), ([], [])])
    assert found.precision[0] == found.recall[0] == pytest.approx(2 / 3)
    assert found.latency.median == pytest.approx(0.25) and found.latency.count == 2, "0.5 s, and 0 for the early one"


def test_a_barge_in_succeeds_if_the_model_stops_in_time() -> None:
    model = [Segment(0.0, 3.0), Segment(5.0, 9.0)]
    found = success.barge_ins([([Segment(2.0, 4.0), Segment(6.0, 7.0), Segment(9.0, 9.5)], model)])
    assert found.success[0] == 0.5 and found.success.count == 2 and found.latency.mean == pytest.approx(1.0)


@pytest.mark.parametrize(("hits", "count"), [(0, 200), (7, 9), (200, 200), (3546, 3554)])
def test_wilson_intervals(hits: int, count: int) -> None:
    exact = binomtest(hits, count).proportion_ci(0.95, "wilson")
    found = summary.share([True] * hits + [False] * (count - hits))
    assert found == (hits / count, pytest.approx(exact.low, abs=1e-12), pytest.approx(exact.high, abs=1e-12), count)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_nothing_to_count_is_no_number() -> None:
    assert math.isnan(summary.share([]).value) and math.isnan(summary.latency([None]).median)


def test_latencies_are_summarised_without_calls_that_have_none() -> None:
    found = summary.latency([None, *(i / 10 for i in range(11))])
    assert found == (pytest.approx(0.5), pytest.approx(0.9), pytest.approx(0.5), 11)


def test_means_of_examined_calls() -> None:
    first = examiner.Dialogue(
        [examiner.Event(0, 10, 5, 3), examiner.Event(10, 20, 3, 3), examiner.Event(20, 25, 1, 3)], 4
    )
    second = examiner.Dialogue([examiner.Event(0, 5, 5, 1)], 2)
    found = examiner.examined([first, second, examiner.Dialogue([], 3)])
    assert found.events == (3.5, 2.5) and found.files == (4.0, 2.0) and found.task == 3
    bins = examiner.over_time([first, second])
    assert len(bins) == 8
    assert bins[0] == (pytest.approx((10 * 5 + 5 * 3 + 5 * 5) / 20), pytest.approx((10 * 3 + 5 * 3 + 5 * 1) / 20))
    assert bins[1].turn_taking == pytest.approx((5 * 3 + 5 * 1) / 10) and math.isnan(bins[2].turn_taking)
    with pytest.raises(ValueError, match="no calls"):
        examiner.examined([])
