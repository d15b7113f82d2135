"""Repeats a run from its record, and compares the final metrics bit for bit.

python -m experiments.reproduce runs/a [--workdir runs/a_again] [--data_dir runs/data]

Launcher, options, config, environment variables and the number of cores are those of the record. Changes of code,
packages and machine since then are printed. The exit code is 1 if a figure differs. The same command goes on with a
repetition that was stopped, and only compares one that is finished.
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
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets; a new one in the new run's folder if absent.")

DIFFERENT = 1
SHOWN = 20  # most differences that are printed


def read_record(run: Path) -> dict[str, Any]:
    """Reads the record of a finished run.

    Raises:
      InputError: the run has no record, or is not finished.
    """
    try:
        record = json.loads((run / RECORD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{run / RECORD}: no such file; launchers write it as they start") from None
    if record["finished"] is None:
        raise InputError(f"{run}: is not finished; the command that started it resumes it")
    return record


def changes_since(record: Mapping[str, Any]) -> Iterator[str]:
    """Yields the differences of code, machine and packages since a run was recorded."""
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
    """Runs the command of a record in another workdir and returns the exit code.

    Raises:
      InputError: this process has fewer cores than the run had, which could change its sums.
    """
    cores = sorted(os.sched_getaffinity(0))
    wanted = record["environment"]["cores"]
    if wanted > len(cores):
        raise InputError(f"{run}: ran on {wanted} cores, this process has {len(cores)}")
    command = [sys.executable, "-m", record["launcher"], f"--config={RESOLVED}:{run / RECORD}", *record["flags"]]
    if record["config"]["stages_dir"]:
        command.append("--config.stages_dir=")  # stages that other runs trained are trained again
    others = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    with pinned(cores[:wanted]):
        return subprocess.run(
            [*command, f"--workdir={workdir}", f"--data_dir={data_dir}"],
            cwd=ROOT,
            env=others | record["environment"]["variables"],
            check=False,
        ).returncode


def is_repeated(run: Path, record: Mapping[str, Any], workdir: Path) -> bool:
    """Whether a workdir holds a finished run of the same config.

    Raises:
      InputError: it holds another finished run, or is that run itself.
    """
    found = json.loads((workdir / RECORD).read_text()) if (workdir / RECORD).exists() else None
    if found is None or found["finished"] is None:
        return False
    alone = {"stages_dir": None}  # a repetition trains every stage itself
    if workdir == run or {**found["config"], **alone} != {**record["config"], **alone}:
        raise InputError(f"{workdir}: holds another finished run; name another --workdir")
    return True


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Returns the differences between the results of two records."""
    found = [] if then["data"] == now["data"] else [f"data: {then['data']} then, {now['data']} now"]
    for name in sorted(then["metrics"].keys() | now["metrics"].keys()):
        before, after = (repr(one["metrics"].get(name)) for one in (then, now))
        if before != after:
            found.append(f"{name}: {before} then, {after} now")
    return found


def main(run: str) -> None:
    """Repeats RUN and compares its metrics."""
    folder = Path(run).absolute()
    record = read_record(folder)
    workdir = Path(WORKDIR.value or f"{folder}-reproduced").absolute()
    for change in changes_since(record):
        print(f"changed since: {change}", file=sys.stderr)
    if not is_repeated(folder, record, workdir):
        code = run_again(folder, record, workdir, Path(DATA_DIR.value or workdir / "data").absolute())
        if code:
            sys.exit(code)
    found = differences(record, read_record(workdir))
    if found:
        print("\n".join(found[:SHOWN]), file=sys.stderr)
        print(f"different: {len(found)} of {len(record['metrics'])} figures", file=sys.stderr)
        sys.exit(DIFFERENT)
    print(f"the same: {len(record['metrics'])} figures, bit for bit")


if __name__ == "__main__":
    cli.run(main, cli.RESUMES)
