"""Runs a run again from its record, and compares their final metrics bit for bit.

python -m experiments.reproduce runs/a [--workdir runs/a_again] [--data_dir runs/data]

Launcher, options, config, variables and the number of cores are those of the record; what has changed since (code,
packages, machine) is told. Exit code 1 if a figure differs.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import flags

from experiments.run.record import RECORD, ROOT, VARIABLES, environment_state, git_state
from experiments.sweeps.local import pinned
from experiments.sweeps.state import RESOLVED
from fac_jax import cli
from fac_jax.types import InputError

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the new run; RUN-reproduced if absent.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets; made anew in the new run's if absent.")

DIFFERENT = 1
SHOWN = 20  # figures


def read_record(run: Path) -> dict[str, Any]:
    """The record of a finished run.

    Raises:
      InputError: there is none.
    """
    try:
        record = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run / RECORD}: no such file; launchers write it as they start") from None
    if record["finished"] is None:
        raise InputError(f"{run}: is not finished; its own command goes on with it")
    return record


def changes_since(record: Mapping[str, Any]) -> Iterator[str]:
    """What is other here and now than when a run was recorded."""
    git = git_state()
    if git != record["sessions"][-1]["git"]:
        yield f"code: {_code(record['sessions'][-1]['git'])} then, {_code(git)} now"
    then, now = record["environment"], environment_state()
    for name in ("python", "platform", "device", "cores"):
        if then[name] != now[name]:
            yield f"{name}: {then[name]} then, {now[name]} now"
    for name in sorted(then["packages"].keys() | now["packages"].keys()):
        before, after = (one["packages"].get(name, "absent") for one in (then, now))
        if before != after:
            yield f"{name}: {before} then, {after} now"


def _code(git: Mapping[str, str] | None) -> str:
    if git is None:
        return "no repository"
    return git["commit"][:12] + (f" with changes ({git['changes']})" if git["changes"] else "")


def run_again(run: Path, record: Mapping[str, Any], workdir: Path, data_dir: Path) -> int:
    """Runs what a record says in another workdir; gives the exit code.

    Raises:
      InputError: this process has fewer cores than the run had, which could change its sums.
    """
    cores = sorted(os.sched_getaffinity(0))
    wanted = record["environment"]["cores"]
    if wanted > len(cores):
        raise InputError(f"{run}: ran on {wanted} cores, here are {len(cores)}")
    command = [sys.executable, "-m", record["launcher"], f"--config={RESOLVED}:{run / RECORD}", *record["flags"]]
    if "stages_dir" in record["config"]:
        command.append("--config.stages_dir=")  # which other runs have trained is trained again
    others = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    with pinned(cores[:wanted]):
        return subprocess.run(
            [*command, f"--workdir={workdir}", f"--data_dir={data_dir}"],
            cwd=ROOT,
            env=others | record["environment"]["variables"],
            check=False,
        ).returncode


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What two records' results differ in."""
    told = [] if then["data"] == now["data"] else [f"data: {then['data']} then, {now['data']} now"]
    for name in sorted(then["metrics"].keys() | now["metrics"].keys()):
        before, after = (repr(one["metrics"].get(name)) for one in (then, now))
        if before != after:
            told.append(f"{name}: {before} then, {after} now")
    return told


def main(run: str) -> None:
    """The command."""
    folder = Path(run).absolute()
    record = read_record(folder)
    workdir = Path(WORKDIR.value or f"{folder}-reproduced").absolute()
    if (workdir / RECORD).exists() and json.loads((workdir / RECORD).read_text())["finished"] is not None:
        raise InputError(f"{workdir}: holds a finished run; take another --workdir")
    for change in changes_since(record):
        print(f"changed since: {change}", file=sys.stderr)
    code = run_again(folder, record, workdir, Path(DATA_DIR.value or workdir / "data").absolute())
    if code:
        sys.exit(code)
    told = differences(record, read_record(workdir))
    if told:
        print("\n".join(told[:SHOWN]), file=sys.stderr)
        print(f"different: {len(told)} of {len(record['metrics'])} figures", file=sys.stderr)
        sys.exit(DIFFERENT)
    print(f"the same: {len(record['metrics'])} figures, bit for bit")


if __name__ == "__main__":
    cli.run(main)
