"""The state of a sweep's runs, as the files in its folder describe it; the folder is checked before anything runs.

SWEEP/sweep.json            the sweep, as it was last started
SWEEP/sweep.lock            held by the process that launches
SWEEP/NAME/                 workdir of a run, and in it:
  asked.json                config of the run
  run.lock                  held by the run itself, so that it is released when the process ends
  attempts.jsonl            a line for each attempt whose end the launcher has seen
  log.txt                   what the attempts print
  record.json               of the launcher (`experiments.run.record`); a run whose record says so is finished
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import psutil

from experiments.run.lock import different
from experiments.sweeps.config import SweepConfig
from experiments.sweeps.runs import Run
from fac_jax.io import write_text
from fac_jax.types import InputError

ASKED, LOCK, LOG, ATTEMPTS, RECORD = "asked.json", "run.lock", "log.txt", "attempts.jsonl", "record.json"
GIB = 2**30
RESOLVED = "experiments/configs/resolved.py"

Status: TypeAlias = Literal["done", "running", "failed", "waiting"]
SWEEP = "sweep.json"


@dataclasses.dataclass(frozen=True)
class Placed:
    """A run, its workdir, and the command that starts or resumes it in the repository's root."""

    run: Run
    workdir: Path
    command: tuple[str, ...]

    @property
    def log(self) -> Path:
        """Returns the file with what its attempts print."""
        return self.workdir / LOG

    def finished(self) -> bool:
        """Returns whether the run is finished."""
        try:
            return json.loads((self.workdir / RECORD).read_text(encoding="utf-8"))["finished"] is not None
        except FileNotFoundError:
            return False

    def status(self) -> Status:
        """Returns the status of the run, from its files."""
        if self.finished():
            return "done"
        if self.held():
            return "running"
        attempts = self.attempts()
        return "failed" if attempts and attempts[-1]["code"] else "waiting"

    def held(self) -> bool:
        """Returns whether a process holds the lock of the run."""
        file = self.workdir / LOCK
        if not file.exists():
            return False
        with locked(file) as descriptor:
            return descriptor is None

    def attempts(self) -> list[dict[str, float]]:
        """Returns the attempts that ended: `code`, `seconds`, `ended`; a line that a crash cut off is left out."""
        file = self.workdir / ATTEMPTS
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def note(self, code: int, seconds: float) -> None:
        """Adds an attempt."""
        with (self.workdir / ATTEMPTS).open("a") as file:
            file.write(json.dumps({"code": code, "seconds": seconds, "ended": time.time()}) + "\n")

    def last_words(self) -> str:
        """Returns the last line of its log."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def place(sweep: SweepConfig, run: Run, folder: Path, python: str = sys.executable) -> Placed:
    """Returns a run with its workdir in the folder of its sweep."""
    workdir = folder / run.name
    data_dir = sweep.data_dir or str(folder / "data")
    command = (python, "-m", sweep.launcher, f"--config={RESOLVED}:{workdir / ASKED}", f"--workdir={workdir}")
    return Placed(run, workdir, (*command, f"--data_dir={data_dir}", *sweep.flags))


@contextlib.contextmanager
def locked(file: Path) -> Iterator[int | None]:
    """Holds a lock and yields its file descriptor; None if another process holds it.

    The lock belongs to the open file: a child that inherits the descriptor holds it until it ends.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield descriptor
    finally:
        os.close(descriptor)


def check_room(sweep: SweepConfig, folder: Path, waiting: int) -> None:
    """Checks that there is the disk space, and on this machine the memory, that `waiting` runs need.

    Raises:
      InputError: there is too little of one of them.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free, need = shutil.disk_usage(there).free / GIB, sweep.disk_gib * waiting
    if need > free:
        raise InputError(
            f"{folder}: {waiting} runs need {need:.1f} GiB (disk_gib={sweep.disk_gib:g} each), {free:.1f} GiB are free"
        )
    together = min(sweep.local.processes, waiting)
    memory, wanted = psutil.virtual_memory().available / GIB, sweep.local.memory_gib * together
    if sweep.backend == "local" and wanted > memory:
        raise InputError(
            f"{together} processes need {wanted:.1f} GiB of memory (local.memory_gib={sweep.local.memory_gib:g} each), "
            f"{memory:.1f} GiB are available: --config.local.processes={int(memory // sweep.local.memory_gib)}"
        )


def check_folder(sweep: SweepConfig, folder: Path, placed: Sequence[Placed]) -> None:
    """Checks that the folder is new or belongs to this sweep, which may have got more seeds and values since.

    Raises:
      InputError: the folder is inside that of a run or of another sweep, or it holds another sweep, or a run of one of
        these names with another config.
    """
    for parent in folder.absolute().parents:
        for file in (SWEEP, "config.json"):
            if (parent / file).exists():
                raise InputError(f"{folder}: lies in {parent}, which holds {file} of another run or sweep")
    if (folder / "config.json").exists():
        raise InputError(f"{folder}: is the workdir of a run; a sweep needs a folder of its own")
    if (folder / SWEEP).exists():
        theirs = json.loads((folder / SWEEP).read_text(encoding="utf-8"))
        there = different({"sweep": theirs}, {"sweep": identity(sweep)})
        if there:
            raise InputError(f"{folder}: holds another sweep: {there}; take another --workdir")
    for one in placed:
        asked = one.workdir / ASKED
        if asked.exists():
            there = different(json.loads(asked.read_text(encoding="utf-8"))["config"], one.run.config)
            if there:
                raise InputError(f"{one.workdir}: holds another run: {there}; take another --workdir")
        elif one.workdir.exists() and any(one.workdir.iterdir()):
            raise InputError(f"{one.workdir}: is not empty and holds no run of this sweep; take another --workdir")


def identity(sweep: SweepConfig) -> dict[str, Any]:
    """Returns the properties that a sweep keeps when it gets more seeds and values."""
    axes = {name: {"kind": axis.kind, "keys": list(axis.keys)} for name, axis in sweep.axes.items()}
    return {
        "launcher": sweep.launcher,
        "config": sweep.config,
        "axes": axes,
        "fixed": dict(sweep.fixed),
        "flags": sweep.flags,
    }


def claim_folder(sweep: SweepConfig, folder: Path, placed: Sequence[Placed]) -> None:
    """Writes the properties of the sweep and the configs of its runs."""
    write_text(folder / SWEEP, json.dumps(identity(sweep), indent=2) + "\n")
    for one in placed:
        if not (one.workdir / ASKED).exists():
            asked = {"name": one.run.name, "changes": one.run.changes, "config": one.run.config}
            write_text(one.workdir / ASKED, json.dumps(asked, indent=2) + "\n")
