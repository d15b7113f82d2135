"""The scripts of docs/scaling.md, with stand-ins for the clouds' programs that write down what they are asked."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAIN = ("--config", "experiments/configs/quickstart.py", "--config.mesh.fsdp=64")
PLACE = {"NAME": "fac", "PROJECT": "p", "ZONE": "z", "TYPE": "v5litepod-64", "BUCKET": "/gcs/b", "POLL": "0"}


def run(script: str, folder: Path, programs: dict[str, str], arguments: tuple[str, ...], **names: str) -> list[str]:
    """The lines that the stand-ins wrote; each program is the body of a bash script."""
    log = folder / "log"
    for name, body in programs.items():
        (folder / name).write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> {log}\n{body}\n')
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", **names}
    subprocess.run(["bash", ROOT / "launch" / script, *arguments], cwd=ROOT, env=environment, check=True, timeout=60)
    return log.read_text().splitlines()


@pytest.mark.parametrize(
    ("first", "deletes", "creates"), [("", False, True), ("ACTIVE", False, False), ("SUSPENDED", True, True)]
)
def test_a_queued_resource_is_asked_for_once(tmp_path: Path, first: str, deletes: bool, creates: bool) -> None:
    (tmp_path / "state").write_text(first)
    gcloud = f'case "$4" in describe) cat {tmp_path}/state;; create) echo ACTIVE > {tmp_path}/state;; esac'
    said = run("tpu_queued_resources.sh", tmp_path, {"gcloud": gcloud}, TRAIN, **PLACE)
    text = "\n".join(said)
    assert ("queued-resources delete fac" in text, "queued-resources create fac" in text) == (deletes, creates)
    assert "--worker=all" in text and ".venv/bin/python -m experiments.train --cluster=tpu" in text
    assert "--workdir='/gcs/b/fac'" in text and "--config.mesh.fsdp=64" in said[-1]


def test_xpk_gets_one_command_for_all_slices(tmp_path: Path) -> None:
    names = PLACE | {"CLUSTER": "c", "IMAGE": "i", "SLICES": "2"}
    (said,) = run("gke_xpk.sh", tmp_path, {"xpk": ""}, (*TRAIN, "--config.mesh.dcn_data=2"), **names)
    assert said.startswith("xpk workload create --workload=fac --cluster=c ") and "--num-slices=2" in said
    assert (
        "python -m experiments.train --cluster=tpu --workdir=/gcs/b/fac" in said and "--config.mesh.dcn_data=2" in said
    )


@pytest.mark.parametrize("terminated", [False, True])
def test_a_slurm_job_is_queued_again_only_after_sigterm(tmp_path: Path, terminated: bool) -> None:
    srun = 'trap "exit 0" TERM; kill -TERM $PPID; sleep 0.2' if terminated else ""
    said = run("slurm.sbatch", tmp_path, {"srun": srun, "scontrol": ""}, ("/runs/a", *TRAIN), SLURM_JOB_ID="7")
    assert "-m experiments.train --cluster=slurm --workdir=/runs/a" in said[0] and said[0].endswith(" ".join(TRAIN))
    assert said[1:] == (["scontrol requeue 7"] if terminated else [])


def test_processes_find_each_other_by_what_slurm_says() -> None:
    """Two processes with the variables of a job step on this machine; each hears of the other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program = (
        "from fac_jax.parallel import hosts; hosts.join('slurm'); "
        "import jax; print(jax.process_count(), hosts.is_first(), len(jax.devices()))"
    )
    job = {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}
    job |= {"JAX_COORDINATOR_PORT": str(port), "SLURM_STEP_NUM_NODES": "1"}
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={"PATH": os.environ["PATH"], **job, **flags, "SLURM_PROCID": str(number)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    assert [one.communicate(timeout=300)[0].split() for one in running] == [["2", "True", "8"], ["2", "False", "8"]]
