"""What a run leaves behind about itself, and running it again from that."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
from etils import epath
from launchers import imported
from toy_training import MODEL, stage

from experiments.run.data import Run
from experiments.run.model_card import CARD
from experiments.run.record import RECORD, RunRecord, results
from experiments.run.schema import RunConfig
from experiments.run.sets import RecordSet
from fac_jax.types import InputError

LINES = [{"step": n, "loss": 1 / n, "flops": 2e9, "tokens": 100.0, "audio_seconds": 1.5} for n in (1, 2, 3)]


@pytest.fixture(scope="module")
def reproduce() -> Iterator[ModuleType]:
    with imported("experiments.reproduce") as module:
        yield module


@dataclasses.dataclass(frozen=True)
class NamedRun:
    """What a record asks a run for."""

    workdir: epath.Path
    config: RunConfig = RunConfig(MODEL, (stage("a", seed=5),), seed=4)
    sets: Mapping[str, RecordSet] = dataclasses.field(default_factory=dict)

    def checksum(self) -> str:
        return "c0ffee"


def start(workdir: Path) -> RunRecord:
    return RunRecord(cast(Run, NamedRun(epath.Path(workdir))))


def curve(workdir: Path) -> None:
    (workdir / "a").mkdir(parents=True)
    (workdir / "a" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))


def read(workdir: Path) -> dict[str, Any]:
    return json.loads((workdir / RECORD).read_text())


def test_a_record_has_what_it_takes_to_run_again(tmp_path: Path) -> None:
    curve(tmp_path)
    record = start(tmp_path)
    assert read(tmp_path)["finished"] is None, "it stands from the beginning"
    record.finish({"s2t_accuracy": 0.1 + 0.2})
    assert "| s2t_accuracy | 0.300 |" in (tmp_path / CARD).read_text()
    found = read(tmp_path)
    resolved = NamedRun(epath.Path(tmp_path)).config.tree()
    assert found["config"] == json.loads(json.dumps(resolved))
    assert found["seeds"] == {"seed": 4, "stages.a.seed": 5}
    assert found["data"] == "c0ffee" and found["finished"] >= found["sessions"][0]["started"]
    assert found["cost"] == {"flops": 6e9, "tokens": 300.0, "audio_seconds": 4.5}
    assert found["metrics"]["s2t_accuracy"] == 0.1 + 0.2, "no digit is lost"
    assert found["metrics"]["a/loss"] == 1 / 3 and "a/step" not in found["metrics"]
    assert found["environment"]["packages"]["jax"] and found["environment"]["device"]["platform"] == "cpu"
    assert found["environment"]["variables"]["XLA_FLAGS"] == os.environ["XLA_FLAGS"]
    assert found["seconds"] > 0 and 0 < found["peak_memory_gib"] < 64
    git = found["sessions"][0]["git"]
    assert git is None or len(git["commit"]) == 40


def test_a_run_that_was_killed_has_a_session_for_each_start(tmp_path: Path) -> None:
    curve(tmp_path)
    start(tmp_path)
    os.utime(tmp_path / "a" / "metrics.jsonl", (4e9, 4e9))  # the last line of the curve
    start(tmp_path).finish({})
    first, second = read(tmp_path)["sessions"]
    assert first["ended"] == 4e9 and second["ended"] is not None


def test_results_are_the_figures_that_are_no_times() -> None:
    report = {
        "seconds": {"a": 1.0},
        "seconds_total": 2,
        "stages": {"a": {"x": 0.5}},
        "seeds": {"0": {"x": 1.0}},
        "ok": True,
    }
    assert results(report) == {"stages.a.x": 0.5}


def recorded(folder: Path, size: int) -> dict[str, Any]:
    """A record of `toy_launcher`, finished as that program finishes it."""
    curve(folder)
    start(folder).finish({})
    values = read(folder) | {"launcher": "toy_launcher", "flags": ["--pause=0.001"]}
    values |= {"data": "none", "metrics": {"size": size, "seed": 4}}
    (folder / RECORD).write_text(json.dumps(values))
    return values


def test_a_run_is_run_again_from_its_record(tmp_path: Path, reproduce: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parents[2]}:{Path(__file__).parents[1] / 'support'}")
    record = recorded(tmp_path / "run", MODEL.group_size)
    again = tmp_path / "again"
    again.mkdir()
    assert not reproduce.is_repeated(tmp_path / "run", record, again)
    assert reproduce.run_again(tmp_path / "run", record, again, tmp_path / "data") == 0
    assert reproduce.is_repeated(tmp_path / "run", record, again)
    now = reproduce.read_record(again)
    assert reproduce.differences(record, now) == []
    assert reproduce.differences(recorded(tmp_path / "other", 4), now) == [f"size: 4 then, {MODEL.group_size} now"]


def test_a_repetition_goes_on_and_another_run_is_refused(tmp_path: Path, reproduce: ModuleType) -> None:
    record = recorded(tmp_path / "run", 3)
    start(tmp_path / "stopped")
    assert not reproduce.is_repeated(tmp_path / "run", record, tmp_path / "stopped")
    with pytest.raises(InputError, match="run: holds another finished run; name another --workdir"):
        reproduce.is_repeated(tmp_path / "run", record, tmp_path / "run")
    other = recorded(tmp_path / "other", 3)
    other["config"]["seed"] = 7
    (tmp_path / "other" / RECORD).write_text(json.dumps(other))
    with pytest.raises(InputError, match="other: holds another finished run"):
        reproduce.is_repeated(tmp_path / "run", record, tmp_path / "other")


def test_what_has_changed_is_told(tmp_path: Path, reproduce: ModuleType) -> None:
    record = recorded(tmp_path / "run", 3)
    assert list(reproduce.changes_since(record)) == []
    record["environment"]["packages"]["jax"] = "0.0.1"
    record["sessions"][-1]["git"] = {"commit": "0" * 40, "changes": "ab"}
    told = list(reproduce.changes_since(record))
    assert told[0].startswith("code: 000000000000 with changes (ab) then, ")
    assert told[1].startswith("jax: 0.0.1 then, ")


def test_what_cannot_be_run_again_is_one_line(tmp_path: Path, reproduce: ModuleType) -> None:
    with pytest.raises(InputError, match=r"record\.json: no such file"):
        reproduce.read_record(tmp_path)
    start(tmp_path)
    with pytest.raises(InputError, match="is not finished; the command that started it"):
        reproduce.read_record(tmp_path)
    record = read(tmp_path)
    record["environment"]["cores"] = 4096
    with pytest.raises(InputError, match="ran on 4096 cores, this process has"):
        reproduce.run_again(tmp_path, record, tmp_path / "x", tmp_path / "y")
