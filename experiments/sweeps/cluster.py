"""Runs on clusters: an array of SLURM's batch jobs, or a workload of XPK for each run.

Both submit the runs that are neither finished nor in the queue, and end; the same command submits failed runs again.
Every node must see the sweep's folder under the same name.
"""

import dataclasses
import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from experiments.sweeps.config import SweepConfig, Xpk
from experiments.sweeps.state import LOCK, LOG, Placed
from fac_jax.io import write_text
from fac_jax.types import InputError

JOBS = "jobs.json"  # in the sweep's folder: what was handed over
LONGEST = 32  # characters of a workload's name before its number; GKE takes 40
IMAGE_ROOT = "/fac_jax"  # of the repository in an image
# Out of time, SLURM sends SIGTERM to the script alone, which hands it on: the run saves, and goes back into the queue.
SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}%{at_once}
#SBATCH --output={folder}/slurm-%A_%a.out
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
{options}
set -euo pipefail
cd {root}
commands=(
{commands}
)
stopped=
bash -c "${{commands[$SLURM_ARRAY_TASK_ID]}}" &
trap "stopped=1; kill -TERM $!" TERM
wait $! || code=$?
[[ -z $stopped ]] || {{ wait || true; scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID"; exit 0; }}
exit "${{code:-0}}"
"""


@dataclasses.dataclass(frozen=True)
class Job:
    """A job that was submitted: its id on the cluster, and the names of its runs in order."""

    id: str
    runs: list[str]


def submit_slurm(sweep: SweepConfig, folder: Path, placed: Sequence[Placed], root: Path) -> list[Placed]:
    """Submits the runs that are neither finished nor in the queue as one array; returns them.

    Raises:
      InputError: SLURM's programs are not installed, or fail.
    """
    jobs = _jobs(folder)
    ids = ",".join(job.id for job in jobs)
    # A job that SLURM has forgotten is an error to squeue.
    queue = _said(["squeue", "--noheader", "--array", "--format=%i", f"--jobs={ids}"], 1) if ids else ""
    queued = {run for job in jobs for n, run in enumerate(job.runs) if f"{job.id}_{n}" in queue.split()}
    ready = [one for one in placed if not one.finished() and one.run.name not in queued]
    if ready:
        script = folder / f"array-{len(jobs)}.sbatch"
        write_text(script, slurm_script(sweep, folder, ready, root))
        job = _said(["sbatch", "--parsable", str(script)]).strip().split(";")[0]
        _note(folder, [*jobs, Job(job, [one.run.name for one in ready])])
    return ready


def slurm_script(sweep: SweepConfig, folder: Path, ready: Sequence[Placed], root: Path) -> str:
    """Returns the batch script of an array whose tasks are the runs, in order."""
    options = "\n".join(f"#SBATCH {option}" for option in sweep.slurm.options)
    commands = []
    for one in ready:
        run = shlex.join(["srun", "--kill-on-bad-exit=1", *one.command])
        lock, log = shlex.quote(str(one.workdir / LOCK)), shlex.quote(str(one.workdir / LOG))
        # The lock lives as long as the job's shell; a second job of the same run ends at once.
        held = f"exec 9>{lock}; flock --nonblock 9 || exit 0; trap : TERM; {run} >>{log} 2>&1"
        commands.append(f"  {shlex.quote(held)}")
    return SCRIPT.format(
        name=_slug(folder.name),
        last=len(ready) - 1,
        at_once=sweep.slurm.at_once,
        folder=folder,
        options=options,
        root=shlex.quote(str(root)),
        commands="\n".join(commands),
    )


def submit_xpk(sweep: SweepConfig, folder: Path, placed: Sequence[Placed]) -> list[Placed]:
    """Creates a workload for every run that is neither finished nor on the cluster; returns these runs.

    Raises:
      InputError: a setting is missing, xpk is not installed, or it fails.
    """
    settings = sweep.xpk
    missing = [key for key, value in vars(settings).items() if value is None]
    if missing:
        raise InputError(f"xpk.{missing[0]} is not set: --config.xpk.{missing[0]}=..")
    jobs = _jobs(folder)
    place = [f"--cluster={settings.cluster}", f"--project={settings.project}", f"--zone={settings.zone}"]
    there = [_said(["xpk", "workload", "list", *place, f"--filter-by-status={s}"]) for s in ("QUEUED", "RUNNING")]
    alive = set(re.findall(r"[a-z0-9-]+", "\n".join(there)))
    queued = {name for job in jobs if job.id in alive for name in job.runs}
    ready = [one for one in placed if not one.finished() and one.run.name not in queued]
    for one in ready:
        name = f"{_slug(folder.name)}-{len(jobs)}"  # a name of its own for every attempt: XPK keeps those that failed
        _said(xpk_command(settings, name, place, one))
        jobs.append(Job(name, [one.run.name]))
        _note(folder, jobs)
    return ready


def xpk_command(settings: Xpk, name: str, place: Sequence[str], one: Placed) -> list[str]:
    """Returns the command that creates the workload of a run."""
    return [
        *("xpk", "workload", "create", f"--workload={name}", *place),
        f"--tpu-type={settings.tpu_type}",
        f"--num-slices={settings.slices}",
        f"--docker-image={settings.image}",
        f"--max-restarts={settings.restarts}",
        f"--termination-grace-period-seconds={settings.grace_seconds}",
        f"--command=cd {IMAGE_ROOT} && {shlex.join(('python', *one.command[1:]))}",
    ]


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:LONGEST] or "sweep"


def _jobs(folder: Path) -> list[Job]:
    file = folder / JOBS
    return [Job(**job) for job in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def _note(folder: Path, jobs: Sequence[Job]) -> None:
    write_text(folder / JOBS, json.dumps([dataclasses.asdict(job) for job in jobs], indent=2) + "\n")


def _said(command: Sequence[str], *allowed: int) -> str:
    """Returns what a program prints.

    Raises:
      InputError: the program is not installed, or its exit code is neither 0 nor one of `allowed`.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not installed on this machine") from None
    if done.returncode not in (0, *allowed):
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise InputError(f"{' '.join(command[:3])} ended with {done.returncode} and said: {last}")
    return done.stdout
