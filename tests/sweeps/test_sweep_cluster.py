"""Sweeps on clusters, with stand-ins for their programs."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from launchers import imported
from sweep_example import QUICKSTART, SIZES, made

from experiments.sweeps.config import read_sweep, sweep
from fac_jax.types import InputError


@pytest.fixture(scope="module")
def launcher() -> Iterator[ModuleType]:
    with imported("experiments.sweep") as module:
        yield module


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins for the programs of clusters, which write down what they are asked; the log's path."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "bin").mkdir()
    log = tmp_path / "log"
    for name, body in {
        "sbatch": "echo 77",
        "squeue": f"cat {tmp_path}/queue",
        "xpk": f'[ "$2" = list ] && cat {tmp_path}/queue; exit 0',
    }.items():
        program = tmp_path / "bin" / name
        program.write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> {log}\n{body}\n')
        program.chmod(0o755)
    (tmp_path / "queue").write_text("")
    return log


def test_slurm_gets_an_array_of_what_is_left(tmp_path: Path, launcher: ModuleType, programs: Path) -> None:
    config = made(SIZES, (0,), backend="slurm")
    folder = tmp_path / "s"
    launcher.run_sweep(config, folder)
    script = (folder / "array-0.sbatch").read_text()
    assert "#SBATCH --array=0-1%16" in script and "-m toy_launcher --config=" in script
    (tmp_path / "queue").write_text("77_0\n")  # the second has left the queue, and is not finished
    launcher.run_sweep(config, folder)
    assert "group_size=3" in (folder / "array-1.sbatch").read_text()
    assert "group_size=1" not in (folder / "array-1.sbatch").read_text()
    assert programs.read_text().count("sbatch --parsable") == 2


def test_a_task_of_the_array_runs_its_run_alone(tmp_path: Path, launcher: ModuleType, programs: Path) -> None:
    folder = tmp_path / "s"
    launcher.run_sweep(made(SIZES, (0,), backend="slurm"), folder)
    (tmp_path / "bin" / "srun").write_text(f'#!/usr/bin/env bash\necho "srun $*" >> {programs}\n')
    (tmp_path / "bin" / "srun").chmod(0o755)
    task = ["bash", str(folder / "array-0.sbatch")]
    subprocess.run(task, env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"}, check=True, timeout=60)
    ran = [line for line in programs.read_text().splitlines() if line.startswith("srun")]
    assert len(ran) == 1 and f"--workdir={folder / 'group_size=3,seed=0'}" in ran[0]
    with (folder / "group_size=3,seed=0" / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(task, env={**os.environ, "SLURM_ARRAY_TASK_ID": "1"}, check=True, timeout=60)
    assert programs.read_text().count("srun ") == 1, "a second job of a run that runs ends at once"


def test_xpk_gets_a_workload_for_each_run(tmp_path: Path, launcher: ModuleType, programs: Path) -> None:
    config = sweep("toy_launcher", QUICKSTART, SIZES, (0,), backend="xpk", disk_gib=0.0)
    with pytest.raises(InputError, match=r"xpk\.cluster is not set"):
        launcher.run_sweep(read_sweep(config), tmp_path / "My_Sweep")
    config.xpk.update({"cluster": "c", "project": "p", "zone": "z", "tpu_type": "v5litepod-16", "image": "i"})
    launcher.run_sweep(read_sweep(config), tmp_path / "My_Sweep")
    asked = [line for line in programs.read_text().splitlines() if "create" in line]
    assert (
        len(asked) == 2 and "--workload=my-sweep-1 --cluster=c --project=p --zone=z --tpu-type=v5litepod-16" in asked[1]
    )
    assert "--command=cd /fac_jax && python -m toy_launcher" in asked[0]
    (tmp_path / "queue").write_text("NAME        STATUS\nmy-sweep-1  Running\n")
    launcher.run_sweep(read_sweep(config), tmp_path / "My_Sweep")
    asked = [line for line in programs.read_text().splitlines() if "create" in line]
    assert len(asked) == 3 and "--workload=my-sweep-2" in asked[2] and "group_size=1" in asked[2]


def test_programs_that_are_not_there_are_named(tmp_path: Path, launcher: ModuleType, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch is not installed on this machine"):
        launcher.run_sweep(made(SIZES, backend="slurm"), tmp_path / "s")
