"""A shipped ablation whose runs are made by several processes each, over one mesh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
XLA = "--xla_force_host_platform_device_count=4 --xla_cpu_collective_call_terminate_timeout_seconds=900"
SWEEP = """
from experiments.configs.ablations import smallest
from experiments.sweeps.axes import grid


def get_config():
    config = smallest.get_config()
    config.local.hosts, config.seeds = 2, (0,)
    config.axes = {"k": grid({"model.group_size": (5,)})}
    config.fixed = (*config.fixed, ("mesh.fsdp", 4), ("mesh.tensor", 2))
    return config
"""


@pytest.mark.slow
def test_a_shipped_ablation_runs_on_two_processes_of_four_devices(tmp_path: Path) -> None:
    (tmp_path / "sweep.py").write_text(SWEEP)
    command = [sys.executable, "-m", "experiments.sweep", f"--config={tmp_path / 'sweep.py'}"]
    environment = os.environ | {"XLA_FLAGS": XLA, "PJRT_NPROC": "64", "JAX_PLATFORMS": "cpu"}
    subprocess.run([*command, f"--workdir={tmp_path / 'sweep'}"], cwd=ROOT, env=environment, check=True)
    (file,) = (tmp_path / "sweep").glob("*/record.json")
    record = json.loads(file.read_text())
    assert record["finished"] and record["environment"]["processes"] == 2
    assert record["environment"]["device"]["count"] == 8
    assert len((file.parent / "speak" / "metrics.jsonl").read_text().splitlines()) == 2
