"""Runs of a sweep on this machine: kill -9 of the launcher and of a run, retries, cores."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sweep_run import placed

from experiments.sweeps import local
from experiments.sweeps.config import Local, SweepConfig
from experiments.sweeps.local import Child, core_shares, pinned, run_all
from experiments.sweeps.runs import Run
from experiments.sweeps.state import ASKED, LOCK, Placed, locked, place

ROOT = Path(__file__).parents[2]
WAIT = 240  # seconds; far more than anything here takes


@pytest.fixture(autouse=True)
def launcher_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests' / 'support'}")


def launch(folder: Path, processes: int, pause: float) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        str(ROOT / "tests" / "support" / "sweep_run.py"),
        str(folder),
        str(processes),
        str(pause),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def steps(folder: Path) -> dict[str, str]:
    return {file.parent.name: file.read_text() for file in sorted(folder.glob("*/steps.txt"))}


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, f"{what} never came"
        time.sleep(0.02)


@pytest.mark.slow
def test_kill_9_of_a_run_and_of_the_launcher_lose_nothing(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    assert launch(whole, 2, 0.0).wait(WAIT) == 0
    assert len(steps(whole)) == 12

    first = launch(torn, 2, 0.25)
    until(lambda: any(text.count("\n") >= 2 for text in steps(torn).values()), "a second step")
    victim = next(name for name, text in steps(torn).items() if text.count("\n") >= 2)
    os.kill(int((torn / victim / "pid").read_text()), signal.SIGKILL)
    until(lambda: (torn / victim / "attempts.jsonl").exists(), "the end of the killed run")
    until(lambda: any(one.held() for one in placed(torn, 0.0)), "a running run")
    first.kill()
    first.wait(WAIT)
    orphans = [one.run.name for one in placed(torn, 0.0) if one.held()]
    assert orphans, "runs outlive their launcher"

    assert launch(torn, 2, 0.0).wait(WAIT) == 0
    assert steps(torn) == steps(whole), "no step is lost, none is made twice"
    assert all(one.status() == "done" for one in placed(torn, 0.0))
    killed = next(one for one in placed(torn, 0.0) if one.run.name == victim)
    assert killed.attempts()[0]["code"] == -signal.SIGKILL


def one_run(folder: Path, **model: object) -> Placed:
    run = Run("only", {}, {"seed": 0, "model": model})
    found = place(SweepConfig("toy_launcher", "none"), run, folder)
    found.workdir.mkdir(parents=True)
    (found.workdir / ASKED).write_text(json.dumps({"config": run.config}))
    return found


@pytest.mark.parametrize(
    ("model", "attempts", "code"), [({"grouping": "crash"}, 3, 1), ({"group_size": 7}, 1, 2)], ids=["crash", "refused"]
)
def test_failures_are_tried_again_and_bad_input_is_not(
    tmp_path: Path, model: dict[str, object], attempts: int, code: int
) -> None:
    one, told = one_run(tmp_path, **model), []
    sweep = SweepConfig("toy_launcher", "none", local=Local(1, 0.0), retries=2)
    assert run_all(sweep, [one], lambda _, what: told.append(what)) == [one]
    assert [attempt["code"] for attempt in one.attempts()] == [code] * attempts
    assert one.status() == "failed"
    assert told[-1].startswith("failed: ")
    if code == 2:
        assert "error: seven is refused" in told[-1]


def test_a_host_that_waits_for_a_dead_one_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "GRACE", 0.1)
    dead = subprocess.Popen(["sh", "-c", "exit 3"])
    program = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    deaf = subprocess.Popen(["sh", "-c", program], start_new_session=True, stdout=subprocess.PIPE)
    assert deaf.stdout is not None and deaf.stdout.readline() == b"ready\n"
    child = Child(placed(tmp_path, 0.0)[0], [dead, deaf], 0, time.monotonic())
    until(lambda: child.code() is not None, "the end of both")
    assert child.code() == 3 and deaf.poll() == -signal.SIGKILL
    deaf.stdout.close()


def test_a_run_of_another_launcher_is_waited_for(tmp_path: Path) -> None:
    one, told = one_run(tmp_path), []
    with locked(one.workdir / LOCK) as descriptor:
        assert descriptor is not None
        other = subprocess.Popen(["sleep", "0.7"], pass_fds=(descriptor,))
    assert one.status() == "running"
    run_all(SweepConfig("toy_launcher", "none", local=Local(1, 0.0)), [one], lambda _, what: told.append(what))
    other.wait()
    assert told == ["is running already", "ended early", "started", "done"]


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [
        ([0, 1, 2, 3], 2, [[0, 1], [2, 3]]),
        ([2, 3, 5], 2, [[2], [3, 5]]),
        ([0, 1], 3, [[0], [1], [0]]),
    ],
)
def test_every_process_has_its_share_of_the_cores(cores: list[int], count: int, shares: list[list[int]]) -> None:
    assert core_shares(cores, count) == shares


def test_what_is_started_stays_on_its_cores() -> None:
    before = os.sched_getaffinity(0)
    core = min(before)
    with pinned([core]):
        said = subprocess.run(
            [sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"],
            capture_output=True,
            text=True,
            check=True,
        )
    assert said.stdout.strip() == str({core}) and os.sched_getaffinity(0) == before
