"""Curves, rates and MFU that a stage leaves behind."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from fac_jax.training.metrics import RATES, MetricLog, read_curve
from fac_jax.training.progress import Rates, StageProgress


def test_the_log_forgets_what_comes_after_its_step(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, 0)
    for step in range(1, 6):
        log.write(step, {"loss": float(step)}, {"steps_per_second": 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # a line cut off by a crash
    assert [line["step"] for line in read_curve(tmp_path)] == [1, 2, 3, 4, 5]
    MetricLog(tmp_path, 3).close()
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(
        json.dumps({"step": step, "loss": float(step)}) + "\n" for step in (1, 2, 3)
    )
    assert [line["step"] for line in read_curve(tmp_path, RATES)] == [1, 2, 3]


def test_rates_are_what_was_handled_in_the_time_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 14.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    rates, known = Rates(), {"audio_seconds": 3.0, "tokens": 8.0, "flops": 4e12}
    assert rates.add(known) == {}
    assert rates.add({name: 2 * value for name, value in known.items()})["tokens_per_second"] == 8.0
    shown = rates.add({name: 0.0 for name in known})
    assert shown == {
        "steps_per_second": 0.5,
        "audio_seconds_per_second": 1.5,
        "tokens_per_second": 4.0,
        "flops_per_second": 2e12,
    }


def test_mfu_is_the_share_of_what_the_devices_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    rates = Rates(peak=8e12)
    rates.add({"audio_seconds": 1.0, "flops": 1e12})
    recent = rates.add({"audio_seconds": 1.0, "flops": 2e12})
    assert recent["mfu"] == 0.25
    out = io.StringIO()
    with StageProgress("joint", 0, 1, Console(file=out)) as progress:
        progress.update(1, 2.0, recent)
    assert out.getvalue().startswith("joint  1/1  loss 2.0000  1.00 steps/s  1.0 s audio/s  2 TFLOP/s  MFU 25.0%")
