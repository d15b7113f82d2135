"""An evaluation that is killed while it answers, judges or scores goes on, and asks nothing twice."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_sets import LAYOUTS, write_set
from clusters import clusters
from judge_server import Answer, JudgeServer
from record_run import write_initial

ROOT = Path(__file__).parents[2]
ROWS = 12
NAME = "voicebench/sd-qa"


def whole_lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def killed_when(command: list[str], reached: Callable[[], bool]) -> None:
    """Starts a command, and kills it as soon as something is reached."""
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """An evaluation of an untrained model on some rows, but for --out."""
    home = tmp_path_factory.mktemp("kill")
    write_initial(home / "initial", codec=True)
    rows = [{"prompt": f"question {n}", "reference": f"answer {n}"} for n in range(ROWS)]
    tone = np.sin(np.arange(8000) / 20).astype(np.float32) / 4
    write_set(home / "sets", NAME, rows, [tone] * ROWS, next(iter(LAYOUTS["voicebench"])))
    words = [f"--benchmark={NAME}", f"--data={home / 'sets'}", f"--checkpoint={home / 'initial' / 'model'}"]
    return [sys.executable, "-m", "experiments.evaluate", *words, "--max_steps=16", "--rows=1"]


@pytest.mark.slow
def test_nothing_is_answered_or_paid_twice(command: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "scores" / NAME
    answers, judgements, result = (folder / name for name in ("predictions.jsonl", "judgements.jsonl", "result.json"))

    def judge(body: dict[str, Any], number: int) -> Answer:
        # What is under way at a kill is lost with its price, so the request after the fourth waits until it is stopped.
        return Answer(("Yes.",), delay=1e9 if number == 4 else 0.0)

    with JudgeServer(judge) as server:
        judged = {"kind": "endpoint", "model": "m", "base_url": server.url, "key_variable": "", "threads": 1}
        command = [*command, f"--out={tmp_path / 'scores'}", *(f"--scoring.judge.{k}={v}" for k, v in judged.items())]
        killed_when(command, lambda: whole_lines(answers) >= 3)
        before = answers.read_text().split("\n")[:-1]
        assert 3 <= len(before) < ROWS and not server.asked
        killed_when(command, lambda: len(server.asked) == 5)
        said = answers.read_text()
        assert said.split("\n")[: len(before)] == before and whole_lines(answers) == ROWS
        assert whole_lines(judgements) == 4 and not result.exists()
        killed_when(command, lambda: whole_lines(judgements) == ROWS)
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        asked = Counter(server.texts())
        repeated = {text: count for text, count in asked.items() if count > 1}
        assert len(asked) == ROWS and answers.read_text() == said
        assert list(repeated.values()) == [2] and next(iter(repeated)) == server.texts()[4], "the one that was lost"
        assert whole_lines(judgements) == ROWS
    assert json.loads(result.read_text())["value"] == 100


@pytest.mark.slow
def test_two_hosts_answer_what_one_answers(command: list[str], tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, f"--out={tmp_path / 'one'}"], cwd=ROOT, env=environment, check=True)
    started = [
        subprocess.Popen([*command, f"--out={tmp_path / 'two'}", *cluster], cwd=ROOT, env=environment)
        for cluster in clusters()
    ]
    assert [process.wait() for process in started] == [0, 0]
    one, two = (tmp_path / name / NAME / "predictions.jsonl" for name in ("one", "two"))
    assert one.read_text() == two.read_text() and whole_lines(two) == ROWS
    assert whole_lines(two.with_name("predictions.2-of-2.jsonl")) == ROWS // 2
