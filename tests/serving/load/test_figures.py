"""Play-out, percentiles and sums of a load test."""

import math

import pytest

from fac_jax.serving.load.figures import PlayOut, Resource, Turn, percentiles, summary
from fac_jax.serving.load.watch import CPU, WATCHED, cores, metrics_url, resources, values


def test_a_listener_waits_only_where_there_is_nothing_to_play() -> None:
    play = PlayOut(buffer_s=0.1)
    play.add(5.0, 0.4)
    assert play.end == pytest.approx(5.5)
    play.add(5.45, 0.2)
    assert (play.underruns, play.end) == (0, pytest.approx(5.7))
    play.add(6.0, 0.2)
    assert (play.underruns, play.silent_s, play.end) == (1, pytest.approx(0.3), pytest.approx(6.2))


def test_percentiles_of_nothing_are_no_numbers() -> None:
    found = percentiles([n / 100 for n in range(101)])
    assert (found.count, found.most) == (101, 1.0)
    assert [found.p50, found.p90, found.p95, found.p99] == pytest.approx([0.5, 0.9, 0.95, 0.99])
    assert percentiles([]).count == 0
    assert math.isnan(percentiles([]).p50)


def test_a_report_counts_what_belongs_to_each_figure() -> None:
    def turn(outcome, underruns=0, **times):
        found = Turn(0, 0, PlayOut(0.1), outcome=outcome, **times)
        found.play.underruns = underruns
        return found

    report = summary(
        [
            turn("completed", 2, spoken=1.0, stopped=1.5, text=1.6, audio=1.8, done=3.0, late_s=0.03),
            turn("completed", 0, spoken=1.0, stopped=1.5, text=1.7, done=2.0),
            turn("cancelled", 5, spoken=1.0, stopped=1.5, text=1.6, audio=2.0, cancel=2.1, done=2.2),
            turn("lost", 5, spoken=1.0),
        ],
        {"server_full": 1},
        sessions=3,
        seconds=10.0,
    )
    assert report.turns == {"completed": 2, "cancelled": 1, "lost": 1}
    assert (report.detector.count, report.detector.most) == (3, pytest.approx(0.5))
    assert (report.first_text.count, report.first_text.most) == (3, pytest.approx(0.2))
    assert (report.first_audio.count, report.first_audio.most) == (2, pytest.approx(0.5))
    assert (report.interrupt.count, report.interrupt.most) == (1, pytest.approx(0.1))
    assert (report.replies, report.underruns) == (1, 2), "of replies that were heard to their end"
    assert (report.errors, report.late_s) == ({"server_full": 1}, 0.03)


def test_what_a_server_holds_is_looked_at_twice_during_a_test_and_once_after_it() -> None:
    text = '# HELP fac_tasks x\nfac_tasks 3.0\nfac_errors_total{code="a"} 9.0\nfac_step_seconds_sum 0.5\n'
    assert values(text) == {"fac_tasks": 3.0, "fac_step_seconds_sum": 0.5}
    looks = [(float(n), {CPU: n / 2, **dict.fromkeys(WATCHED, float(n))}) for n in range(11)]
    held = resources(looks)
    assert set(held) == set(WATCHED) and held["fac_tasks"] == Resource(early=2.5, late=8.5, after=10.0)
    assert cores(looks) == 0.5
    assert resources(looks[:5]) == resources([]) == {} and math.isnan(cores(looks[:2]))
    assert metrics_url("wss://127.0.0.1:8000/v1/realtime?model=a") == "https://127.0.0.1:8000/metrics"
