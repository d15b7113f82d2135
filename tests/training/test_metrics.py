"""Curves, rates and MFU that a stage leaves behind."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from rich.console import Console

from fac_jax.training.metrics import RATES, MetricLog, read_curve
from fac_jax.training.progress import Rates, StageProgress
from fac_jax.training.trackers import check_trackers
from fac_jax.types import InputError


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


def test_rates_leave_the_time_of_an_evaluation_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 44.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    rates = Rates()
    rates.add({"tokens": 8.0})
    assert rates.add({"tokens": 8.0})["steps_per_second"] == 0.5
    rates.leave_out(30.0)
    assert rates.add({"tokens": 8.0}) == {"steps_per_second": 0.5, "tokens_per_second": 4.0}


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


def test_where_nothing_can_be_appended_files_are_whole_after_every_flush(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a cloud store, which a folder of this machine stands for here."""
    monkeypatch.setattr("fac_jax.io.is_local", lambda path: False)
    log = MetricLog(tmp_path, 0)
    log.write(1, {"loss": 1.0}, {})
    assert read_curve(tmp_path) == [] and not (tmp_path / "tensorboard").exists()
    log.flush()
    assert [line["step"] for line in read_curve(tmp_path)] == [1]
    (events,) = (tmp_path / "tensorboard").iterdir()
    size = events.stat().st_size
    log.write(2, {"loss": 2.0}, {})
    log.close()
    assert [line["step"] for line in read_curve(tmp_path)] == [1, 2] and events.stat().st_size > size
    MetricLog(tmp_path, 1).close()
    assert [line["step"] for line in read_curve(tmp_path)] == [1]


class FakeRun:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = False

    def log(self, values: dict[str, float], step: int) -> None:
        self.logged.append((step, values))

    def finish(self) -> None:
        self.finished = True


def test_wandb_gets_metrics_and_rates_of_one_run_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, asked = FakeRun(), []
    module = ModuleType("wandb")
    module.init = lambda **how: (asked.append(how), run)[1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    for start in (0, 1):
        log = MetricLog(tmp_path / "mine" / "speak", start, ("wandb",))
        log.write(start + 1, {"loss": 2.0}, {"steps_per_second": 1.0})
        log.close()
    assert run.logged[0] == (1, {"loss": 2.0, "steps_per_second": 1.0}) and run.finished
    assert asked[0] == asked[1] and asked[0]["resume"] == "allow", "what goes on is the same run"
    assert (asked[0]["name"], asked[0]["group"]) == ("speak", "mine")
    assert not (tmp_path / "mine" / "speak" / "tensorboard").exists()


def test_no_tracker_is_needed_and_unknown_ones_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MetricLog(tmp_path, 0, ()).close()
    assert {file.name for file in tmp_path.iterdir()} == {"metrics.jsonl", "rates.jsonl"}
    check_trackers(("tensorboard",))
    with pytest.raises(InputError, match=r"trackers has 'tensorbord'; known: tensorboard, wandb; \(\) for none"):
        check_trackers(("tensorbord",))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'wandb', which is not installed: pip install -e '\.\[wandb\]'"):
        check_trackers(("tensorboard", "wandb"))
