"""Packed loading over real processes: hosts, a run that is killed, workers."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import packed_run
import pytest
from packed_run import lines

from data_pipelines.loading.loader import WorkerConfig

ROOT = Path(__file__).parents[2]


def process(out: Path, count: int, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, packed_run.__file__, str(out), str(count), *options]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


def result(out: Path) -> dict[str, Any]:
    return json.loads(out.read_text())


def test_two_hosts_bring_the_batches_of_one(tmp_path: Path) -> None:
    outs = [tmp_path / f"host{host}.json" for host in range(2)]
    running = [process(out, 4, f"--host={host}", "--hosts=2") for host, out in enumerate(outs)]
    assert [one.wait() for one in running] == [0, 0]
    found = [result(out) for out in outs]
    assert found[0]["state"] == found[1]["state"]
    want = [batch["ids"] for batch in lines(packed_run.begin(), 4)]
    assert [a["ids"] + b["ids"] for a, b in zip(*(one["done"] for one in found), strict=True)] == want


@pytest.mark.slow
def test_a_worker_process_brings_the_same_batches() -> None:
    with closing(packed_run.begin(config=WorkerConfig(workers=1))) as batches:
        assert lines(batches, 3) == lines(packed_run.begin(), 3)


@pytest.mark.slow  # tests/loading/test_loader.py resumes in one process, tests/training/test_loop.py kills a run
def test_a_killed_run_resumes_with_the_same_batches_and_other_workers(tmp_path: Path) -> None:
    out, state = tmp_path / "run.json", tmp_path / "state.json"
    running = process(out, 10_000)
    while not (out.exists() and len(result(out)["done"]) >= 4):
        time.sleep(0.02)
        assert running.poll() is None
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = result(out)
    done = before["done"]
    want = lines(packed_run.begin(), len(done) + 5)
    assert done == want[: len(done)]
    resumed = packed_run.begin()
    resumed.set_state(before["state"])
    assert lines(resumed, 5) == want[len(done) :]
    state.write_text(json.dumps(before["state"]))
    assert process(out, 5, f"--state={state}", "--workers=2").wait() == 0
    assert result(out)["done"] == want[len(done) :]
