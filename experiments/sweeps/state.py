"""The state of a sweep's runs, as the files in its folder describe it.

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
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from experiments.sweeps.config import SweepConfig
from experiments.sweeps.runs import Run

ASKED, LOCK, LOG, ATTEMPTS, RECORD = "asked.json", "run.lock", "log.txt", "attempts.jsonl", "record.json"
GIB = 2**30
RESOLVED = "experiments/configs/resolved.py"

Status: TypeAlias = Literal["done", "running", "failed", "waiting"]


@dataclasses.dataclass(frozen=True)
class Placed:
    """A run and its workdir.

    Attributes:
      run: the run.
      workdir: folder of the run.
      command: command that starts or resumes it, in the repository's root.
    """

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


def shown(command: tuple[str, ...]) -> str:
    """Formats a command for a shell."""
    return shlex.join(command)


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
