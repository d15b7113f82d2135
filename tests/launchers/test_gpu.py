"""The programme of a GPU: pieces that end well, badly or not at all, calls that go on, the whole on a tiny model."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import gpu
from experiments.benchmarks.tables import TITLES
from experiments.benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
DEVICE = {"kind": "NVIDIA Test 1", "platform": "cpu", "machine": "a machine"}
FIGURES = {"machine": "a machine", "train": {}, "card": {"one": {"copied GB/s": 12.5}}}


def _piece(name: str, program: str, limit: int = 60) -> gpu.Piece:
    """A piece that runs a line of Python, "RESULT" being the file of its result."""
    command = ("timeit", "-n1", "-r1", program.replace("{", "{{").replace("}", "}}").replace("RESULT", "{result}"))
    return gpu.Piece(name, limit, command, command)


def _writes(text: str) -> str:
    return f"open('RESULT', 'w').write({text!r})"


XML = '<testsuites><testcase name="a"/><testcase name="b"><failure/></testcase></testsuites>'
GOOD = _piece("good", _writes(json.dumps(FIGURES)))
BAD = _piece("bad", _writes(XML) + "; raise ValueError")
LONG = _piece("long", "import time; print('begun', flush=True); time.sleep(60)", limit=3)


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(gpu, "device_here", lambda: DEVICE)


def test_every_piece_leaves_its_result_however_it_ends(device, tmp_path):
    file = gpu.run(tmp_path, (GOOD, BAD, LONG), (), None, dry=False)
    assert file.name == "nvidia-test-1.json"
    found = json.loads(file.read_text())["pieces"]
    assert {name: piece["status"] for name, piece in found.items()} == {
        "good": "done",
        "bad": "failed, exit code 1",
        "long": "stopped at its limit of 3 s",
    }
    assert found["good"]["figures"] == {"card": FIGURES["card"]}
    assert found["bad"]["tests"] == {"run": 2, "failed": ["b"]}
    assert found["long"]["last"] == ["begun"]
    text = gpu.page([json.loads(file.read_text())])
    assert "2 tests, failed: b" in text and "| one | 12.5 |" in text


def test_a_later_call_goes_on(device, tmp_path, capsys):
    gpu.run(tmp_path, (GOOD,), (), None, dry=False)
    file = gpu.run(tmp_path, (GOOD, BAD, LONG), (), 30, dry=False)  # the bad piece may last 60 s
    assert list(json.loads(file.read_text())["pieces"]) == ["good", "long"]
    assert "bad: for a later call" in capsys.readouterr().out
    changed = _piece("good", "pass")
    file = gpu.run(tmp_path, (changed,), ("good",), None, dry=False)
    assert "figures" not in json.loads(file.read_text())["pieces"]["good"]


def test_the_table_names_what_there_is():
    for piece in gpu.PIECES:
        assert piece.limit <= 540
        paths = [word for word in piece.command if word.startswith("tests/")]
        assert all((ROOT / path).exists() for path in paths)
        options = dict(word.removeprefix("--").split("=") for word in piece.command if word.startswith("--"))
        assert options.get("presets", "tiny") in WORKLOADS and options.get("measure", "card") in TITLES


@pytest.mark.slow
def test_the_whole_programme_on_a_tiny_model(tmp_path):
    command = [sys.executable, "-m", "experiments.gpu", "--dry", f"--out={tmp_path}"]
    subprocess.run(command, cwd=ROOT, check=True)
    (file,) = tmp_path.glob("*.json")
    found = json.loads(file.read_text())
    assert list(found["pieces"]) == [piece.name for piece in gpu.PIECES]
    assert {piece["status"] for piece in found["pieces"].values()} == {"done"}
    assert found["machine"] in gpu.page([found])
