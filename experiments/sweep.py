"""Runs every combination of a sweep's axes and seeds, on this machine or on a cluster, and resumes where it stopped.

python -m experiments.sweep --config experiments/configs/ablations/smallest.py --workdir runs/smallest
python -m experiments.sweep --config .. --workdir .. --config.backend=dry        (prints the commands)
python -m experiments.sweep --config .. --workdir .. --status                    (what has become of the runs)

The same command resumes: finished runs are skipped, runs that were stopped resume from their checkpoints, failed ones
are run again. See docs/sweeps.md. Exit code 1 if a run fails.
"""

import importlib.util
import shlex
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiments.run.config import resolve_config
from experiments.sweeps.cluster import submit_slurm, submit_xpk
from experiments.sweeps.config import SweepConfig, read_sweep
from experiments.sweeps.local import ROOT, run_all
from experiments.sweeps.runs import make_runs
from experiments.sweeps.state import Placed, check_folder, check_room, claim_folder, locked, place
from fac_jax import cli
from fac_jax.types import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the sweep; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the sweep; every run has a folder in it.", required=True)
STATUS = flags.DEFINE_bool("status", False, "Say what has become of the runs, and run nothing.")

FAILED = 1


def planned(sweep: SweepConfig, folder: Path) -> list[Placed]:
    """Returns the runs of a sweep with their folders.

    Raises:
      InputError: no such launcher; or see `make_runs` and `check_folder`.
    """
    if importlib.util.find_spec(sweep.launcher) is None:
        raise InputError(f"launcher is {sweep.launcher}: no such module; experiments.quickstart is one")
    python = ".venv/bin/python" if sweep.backend == "slurm" else sys.executable
    placed = [place(sweep, run, folder, python) for run in make_runs(sweep, resolve_config)]
    check_folder(sweep, folder, placed)
    return placed


def run_sweep(sweep: SweepConfig, folder: Path) -> list[Placed]:
    """Runs or submits the runs that are not finished; returns the runs that failed.

    Raises:
      InputError: see `planned` and `check_room`; another launcher is at work in the folder.
    """
    placed = planned(sweep, folder)
    check_room(sweep, folder, sum(not one.finished() for one in placed))
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "sweep.lock") as descriptor:
        if descriptor is None:
            raise InputError(f"{folder}: another launcher is at work there")
        claim_folder(sweep, folder, placed)
        return _handed(sweep, folder, placed)


def _handed(sweep: SweepConfig, folder: Path, placed: list[Placed]) -> list[Placed]:
    if sweep.backend == "local":
        before = sum(one.finished() for one in placed)
        ends, started = Counter(done=before), time.monotonic()

        def tell(one: Placed, what: str) -> None:
            ends[what.partition(":")[0]] += 1
            done, left = (
                ends["done"],
                len(placed) - ends["done"] - sum(ends[end] for end in ends if end.startswith("failed")),
            )
            rate = (done - before) / (time.monotonic() - started)  # runs a second
            time_left = f", {timedelta(seconds=round(left / rate))} left" if what == "done" and left else ""
            print(f"[{done}/{len(placed)}] {one.run.name}: {what}{time_left}", flush=True)

        return run_all(sweep, placed, tell)
    if sweep.backend == "dry":
        for one in placed:
            if not one.finished():
                print(shlex.join(one.command))
        return []
    submit = submit_xpk(sweep, folder, placed) if sweep.backend == "xpk" else submit_slurm(sweep, folder, placed, ROOT)
    print(f"submitted {len(submit)} of {len(placed)} runs")
    for one in submit:
        print(f"  {one.run.name}")
    return []


def main() -> None:
    """Runs the command."""
    sweep, folder = read_sweep(CONFIG.value), Path(WORKDIR.value).absolute()
    if STATUS.value:
        for one in planned(sweep, folder):
            status = one.status()
            print(f"{status:8s} {one.run.name}" + (f": {one.last_words()}" if status == "failed" else ""))
        return
    failed = run_sweep(sweep, folder)
    if not failed and sweep.backend == "local":
        print("all runs are done")
    if failed:
        print(f"{len(failed)} runs failed: {', '.join(one.run.name for one in failed)}", file=sys.stderr)
        sys.exit(FAILED)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main, cli.RESUMES)
