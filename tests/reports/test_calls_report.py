"""The page of an evaluation of calls, and its figures."""

import json
from pathlib import Path

import numpy as np

from fac_jax.audio.mel import RATE
from fac_jax.evaluation.benchmarks.duplex.segments import Segment
from fac_jax.evaluation.calls.base import Outcome
from fac_jax.evaluation.calls.scores import scores
from fac_jax.evaluation.reports.call import CallShown, TurnShown
from fac_jax.evaluation.reports.calls import CallsReport, Curve, Point, ShownCall, write_calls_report

PATIENT = scores([Outcome("", RATE // 2, True, None, 1), Outcome("early", None, False, None, 2)])
MUTE = scores([Outcome("silent", None, False, None, 0)])


def report(curve: Curve) -> CallsReport:
    call = CallShown(
        title="pause/a",
        summary="what is two <plus one",
        user=np.zeros(RATE, np.float32),
        assistant=np.zeros(RATE, np.float32),
        rate=RATE,
        speech=[Segment(0.0, 0.3)],
        turns=[TurnShown(0.2, 0.8, 1.0, "two", True)],
        chances=np.array([0.1, 0.9, 0.0, 0.0, 0.5]),
        slot=0.2,
        events=[("pause", Segment(0.3, 0.6))],
    )
    return CallsReport(
        "Calls",
        "a model",
        {"pause": PATIENT},
        {"vad_500": {"pause": MUTE}},
        {"start_bias": curve},
        {"pause": [ShownCall(call, "failure: early")]},
        {"checkpoint": "0a"},
        {"full duplex": {"s2s": {"exact": 0.25}}, "half duplex": {"s2s": {"exact": 0.75}}},
    )


def curve(latency: float | None) -> Curve:
    return Curve(
        "Eagerness",
        "takes the turn",
        "an answer",
        [Point("bias 0", 0.5, latency, None)],
        [Point("vad_500", 0, None, None)],
    )


def test_the_page_shows_scores_curves_and_calls(tmp_path: Path) -> None:
    write_calls_report(tmp_path / "report.html", report(curve(0.7)))
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2 and page.count("data:audio/flac") == 1
    assert "50.0 %" in page and "0.50 s" in page and "1 early" in page and "what is two &lt;plus one" in page
    assert ">pause</text>" in page and "two (cut)" in page
    assert "<td>s2s</td><td>exact</td><td>0.250</td><td>0.750</td>" in page
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["skills"]["half duplex"] == {"s2s": {"exact": 0.75}}
    one = found["scenarios"]["pause"]
    assert one["success"] == one["answer"] == 0.5 and one["calls"] == 2 and one["onsets_per_call"] == 1.5
    assert one["latency_median"] == 0.5 and one["latency_p90"] is None and one["failures"] == {"early": 1}
    assert found["baselines"]["vad_500"]["scenarios"]["pause"]["success"] == 0
    assert found["curves"]["start_bias"]["model"][0]["latency_median"] == 0.7
    assert "not in the pause" in found["definitions"]["pause"]


def test_a_curve_without_a_median_is_not_drawn(tmp_path: Path) -> None:
    write_calls_report(tmp_path / "report.html", report(curve(None)))
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 1 and "Less than half of the calls have a reaction" in page
