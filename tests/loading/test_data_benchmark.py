"""The benchmarks of loading: every figure is there, the rows are what they say; no time is asserted."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from launchers import imported

from data_pipelines.loading import synthetic
from data_pipelines.loading.throughput import show
from fac_jax.audio.io import decode

ROOT = Path(__file__).parents[2]


def test_made_up_rows_have_the_lengths_of_conversations() -> None:
    rows = synthetic.records(40, synthetic.UNITS)
    heard = [len(decode(row.messages[0].audio.data, row.id).wave) / 16_000 for row in rows]
    spoken = [len(row.messages[1].audio.tokens) / 25 for row in rows]
    for seconds in (heard, spoken):
        assert min(seconds) >= 2 and max(seconds) <= 30 and 5 < np.median(seconds) < 10
    assert [row.messages[1].text for row in rows] == [row.messages[1].text for row in synthetic.records(40, 6561)]


def test_every_figure_is_there(figures) -> None:
    with imported("data_pipelines.loading.benchmark") as benchmark:
        found = benchmark.benchmark(rows=2, seq_len=1024, count=2, mel="device", workers=0, step_seconds=0.0)
    numbers = {name: value for name, value in found.items() if not isinstance(value, str)}
    assert all(np.isfinite(value) for value in numbers.values()) and json.dumps(found)
    assert found["heard audio hours/hour/core"] < found["audio hours/hour/core"]
    assert 0 <= found["share of step time waiting"] <= 1 and 0.5 < found["window fill"] <= 1
    figures.at_least("packing fill of made-up conversations", found["packing fill"], 0.95)
    assert len(show("title", found).rows) == len(found)


@pytest.mark.parametrize(
    ("module", "option", "message"),
    [
        ("data_pipelines.loading.benchmark", "--json=/nowhere/a.json", "--json=/nowhere/a.json: /nowhere is no folder"),
        ("experiments.benchmarks.data_wait", "--preset=tiny", "--preset=tiny: not measured here; known: base"),
    ],
)
def test_bad_options_are_one_line(module: str, option: str, message: str) -> None:
    command = [sys.executable, "-m", module, option]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and message in result.stderr
