"""Several processes as one run: start-up, a killed one, a restart on another mesh, SIGTERM."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import hosts_run
import numpy as np
import pytest

from fac_jax.parallel.hosts import join
from fac_jax.training.metrics import read_curve
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]


def process(workdir: Path, devices: int, mesh: str, *options: str) -> subprocess.Popen[str]:
    count = "--xla_force_host_platform_device_count="
    xla = re.sub(count + r"\d+", count + str(devices), os.environ["XLA_FLAGS"])
    command = [sys.executable, hosts_run.__file__, f"--workdir={workdir}", f"--mesh={mesh}", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": xla}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def two(workdir: Path, mesh: str, *options: str) -> list[subprocess.Popen[str]]:
    """Two processes of four devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cluster = ("--cluster=flags", f"--coordinator=localhost:{port}", "--processes=2", *options)
    return [process(workdir, 4, mesh, *cluster, f"--process={number}") for number in range(2)]


def wait_for(path: Path, running: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 900
    while not path.exists():
        for one in running:
            assert one.poll() is None, one.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def curve(workdir: Path, name: str = "loss") -> list[float]:
    return [line[name] for line in read_curve(workdir / hosts_run.STAGE.name)]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of one process on eight devices."""
    workdir = tmp_path_factory.mktemp("alone")
    run = process(workdir, 8, "fsdp=8")
    assert (run.communicate()[1], run.returncode) == ("", 0)
    return workdir


def test_two_hosts_one_of_them_killed_and_one_host_on_another_mesh_goes_on(
    tmp_path: Path, alone: Path, figures
) -> None:
    running = two(tmp_path, "fsdp=4,tensor=2", "--pause=0.3")
    wait_for(tmp_path / "text" / "checkpoints" / "6", running)
    running[1].send_signal(signal.SIGKILL)
    running[0].send_signal(signal.SIGKILL)  # it would wait for the other until the service gives up
    for one in running:
        one.communicate()
    assert len(curve(tmp_path)) < hosts_run.STEPS
    again = process(tmp_path, 8, "fsdp=2,expert=2,tensor=2")
    assert (again.communicate()[1], again.returncode) == ("", 0)
    ours, theirs = np.array(curve(tmp_path)), np.array(curve(alone))
    assert len(ours) == hosts_run.STEPS and theirs[-1] < theirs[0]
    figures("two hosts, killed, one on another mesh: loss, relative", float(np.abs(ours / theirs - 1).max()), 1e-6)
    for name in ("tokens", "audio_seconds"):
        assert curve(tmp_path, name) == pytest.approx(curve(alone, name))


@pytest.mark.slow
def test_a_sigterm_to_one_host_saves_and_ends_both_with_0(tmp_path: Path, alone: Path) -> None:
    running = two(tmp_path, "fsdp=8", "--pause=0.5")
    wait_for(tmp_path / "text" / "checkpoints" / "3", running)
    running[1].send_signal(signal.SIGTERM)
    told = [one.communicate()[1] for one in running]
    assert [one.returncode for one in running] == [0, 0], told
    assert all("terminated; the same command resumes from the last checkpoint" in text for text in told)
    done = len(curve(tmp_path))
    assert 3 < done < hosts_run.STEPS
    assert (tmp_path / "text" / "checkpoints" / str(done)).is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("flags", None, 2, 0), "--cluster=flags needs --coordinator: give --coordinator=HOST:PORT --processes=N"),
        (("none", "localhost:1", None, None), "--coordinator is for --cluster=flags; --cluster is none"),
        (("slurm", None, None, None), "--cluster=slurm: the processes do not find each other"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        join(*arguments)
