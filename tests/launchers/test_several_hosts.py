"""Several processes as one run: start-up, a killed one, a restart on another mesh, SIGTERM."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import hosts_run
import numpy as np
import pytest
from clusters import clusters

from fac_jax import cli
from fac_jax.parallel.hosts import join
from fac_jax.training.metrics import read_curve
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]


def started(devices: int, *command: str) -> subprocess.Popen[str]:
    """A Python program on a CPU that plays so many devices."""
    count = "--xla_force_host_platform_device_count="
    xla = re.sub(count + r"\d+", count + str(devices), os.environ["XLA_FLAGS"])
    # On busy cores a device may reach a collective long after the first one, which gives up after 40 s by default.
    xla += " --xla_cpu_collective_call_terminate_timeout_seconds=900"
    # A thread waits in every collective: with a thread a core, XLA's CPU runs out of them, and waits for ever.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": xla, "PJRT_NPROC": "64"}
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def process(workdir: Path, devices: int, mesh: str, *options: str) -> subprocess.Popen[str]:
    """`hosts_run.py`, whose steps take no time."""
    return started(devices, str(hosts_run.__file__), f"--workdir={workdir}", f"--mesh={mesh}", *options)


def two(workdir: Path, mesh: str, *options: str) -> list[subprocess.Popen[str]]:
    """Two processes of four devices each."""
    return [process(workdir, 4, mesh, *cluster) for cluster in clusters(*options)]


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
    hosts_run.run(workdir, {"fsdp": 8})
    return workdir


@pytest.mark.slow
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
    hosts_run.run(tmp_path, {"fsdp": 8})
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
    assert all(f"terminated; {cli.RESUMES}" in text for text in told)
    done = len(curve(tmp_path))
    assert 3 < done < hosts_run.STEPS
    assert (tmp_path / "text" / "checkpoints" / str(done)).is_dir()


STAGES = ("text", "ears", "listen", "speak")
SMALL_WORLD = {"limit": 2, "test_pairs": 2, "dev_pairs": 1, "clips_per_pair": 1}
SMALL_WORLD |= {"read_aloud": 8, "read_sums": 8, "transcribe": 4}
STAGE_KEYS = {"steps": 3, "checkpoint_every": 3, "data.batch_rows": 8}
ON_MESH = ("--config.mesh.fsdp=4", "--config.mesh.tensor=2")


def quickstart(workdir: Path, data: Path, recipe: tuple[str, ...], *options: str) -> list[str]:
    """`experiments.train` on the quickstart, three steps a stage, in a small world."""
    changes = {f"data.world.{key}": value for key, value in SMALL_WORLD.items()}
    changes |= {"data.processes": 1, "data.unit_codec.units": 16, "recipe": recipe}
    changes |= {f"stages.{name}.{key}": value for name in STAGES for key, value in STAGE_KEYS.items()}
    keys = [f"--config.{key}={value}" for key, value in changes.items()]
    config = f"--config={ROOT / 'experiments' / 'configs' / 'quickstart.py'}"
    return ["-m", "experiments.train", config, f"--workdir={workdir}", f"--data_dir={data}", *keys, *options]


def trained(running: list[subprocess.Popen[str]]) -> None:
    """Waits for the processes of a run, which must succeed."""
    reported = [one.communicate()[1] for one in running]
    assert [one.returncode for one in running] == [0] * len(running), reported


def last_losses(workdir: Path, recipe: tuple[str, ...]) -> np.ndarray:
    """Loss of the last step of every stage."""
    curves = [read_curve(workdir / name) for name in recipe]
    assert [len(one) for one in curves] == [STAGE_KEYS["steps"]] * len(recipe)
    return np.array([one[-1]["loss"] for one in curves])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [pytest.param(("speak",), id="one stage"), pytest.param(STAGES, id="all stages")])
def test_the_quickstart_on_one_device_eight_and_two_hosts_of_four(
    tmp_path: Path, figures, recipe: tuple[str, ...]
) -> None:
    one, eight, hosts, data = (tmp_path / name for name in ("one", "eight", "hosts", "data"))
    trained([started(1, *quickstart(one, data, recipe))])
    trained([started(8, *quickstart(eight, data, recipe, *ON_MESH))])
    trained([started(4, *quickstart(hosts, data, recipe, *ON_MESH, *flags)) for flags in clusters()])
    expected = last_losses(one, recipe)
    for name, workdir in (("eight devices", eight), ("two hosts", hosts)):
        differences = np.abs(last_losses(workdir, recipe) / expected - 1)
        for stage, difference in zip(recipe, differences, strict=True):
            figures(f"quickstart, {stage}, one device and {name}: loss, relative", float(difference), 1e-5)


@pytest.mark.slow
def test_the_quickstart_of_two_hosts_stopped_and_killed_resumes_on_one(tmp_path: Path, figures) -> None:
    recipe, data = ("speak",), tmp_path / "data"
    longer = ("--config.stages.speak.steps=40", "--config.stages.speak.checkpoint_every=2")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    trained([started(8, *quickstart(whole, data, recipe, *longer, "--config.mesh.fsdp=8"))])

    def hosts() -> list[subprocess.Popen[str]]:
        return [started(4, *quickstart(stopped, data, recipe, *longer, *ON_MESH, *flags)) for flags in clusters()]

    running = hosts()
    wait_for(stopped / "speak" / "checkpoints" / "2", running)
    running[1].send_signal(signal.SIGTERM)
    reported = [one.communicate()[1] for one in running]
    assert [one.returncode for one in running] == [0, 0], reported
    done = len(read_curve(stopped / "speak"))
    assert 2 <= done < 40
    running = hosts()
    wait_for(stopped / "speak" / "checkpoints" / str(2 * (done // 2) + 4), running)
    for one in reversed(running):
        one.send_signal(signal.SIGKILL)
    for one in running:
        one.communicate()
    assert len(read_curve(stopped / "speak")) < 40
    trained(
        [
            started(
                8,
                *quickstart(
                    stopped,
                    data,
                    recipe,
                    *longer,
                    "--config.mesh.fsdp=2",
                    "--config.mesh.tensor=2",
                    "--config.mesh.data=2",
                ),
            )
        ]
    )
    ours, theirs = ([line["loss"] for line in read_curve(folder / "speak")] for folder in (stopped, whole))
    assert len(ours) == len(theirs) == 40 and ours[-1] < ours[0]
    difference = np.abs(np.array(ours) / np.array(theirs) - 1).max()
    figures("quickstart, stopped and killed, on three meshes: loss, relative", float(difference), 1e-4)


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
