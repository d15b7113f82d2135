"""What a sweep's folder says of its runs, read from the files of each and from nothing else.

SWEEP/sweep.json            the sweep, as it was asked for last
SWEEP/sweep.lock            held by the process that launches
SWEEP/NAME/                 workdir of a run, and in it:
  asked.json                what the run is to do
  run.lock                  held by the run itself, so that it goes with the process, however that ends
  attempts.jsonl            a line for each attempt that the launcher saw end
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
      run: what is run.
      workdir: its folder.
      command: that runs it, or goes on with it, from the repository's root.
    """

    run: Run
    workdir: Path
    command: tuple[str, ...]

    @property
    def log(self) -> Path:
        """What its attempts print."""
        return self.workdir / LOG

    def finished(self) -> bool:
        """Whether it is at its end."""
        try:
            return json.loads((self.workdir / RECORD).read_text(encoding="utf-8"))["finished"] is not None
        except FileNotFoundError:
            return False

    def status(self) -> Status:
        """What its files say."""
        if self.finished():
            return "done"
        if self.held():
            return "running"
        attempts = self.attempts()
        return "failed" if attempts and attempts[-1]["code"] else "waiting"

    def held(self) -> bool:
        """Whether a process runs it."""
        file = self.workdir / LOCK
        if not file.exists():
            return False
        with locked(file) as descriptor:
            return descriptor is None

    def attempts(self) -> list[dict[str, float]]:
        """Attempts that were seen to end: `code`, `seconds`, `ended`; a line cut off by a crash is left out."""
        file = self.workdir / ATTEMPTS
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def note(self, code: int, seconds: float) -> None:
        """Adds an attempt."""
        with (self.workdir / ATTEMPTS).open("a") as file:
            file.write(json.dumps({"code": code, "seconds": seconds, "ended": time.time()}) + "\n")

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it printed nothing")


def place(sweep: SweepConfig, run: Run, folder: Path, python: str = sys.executable) -> Placed:
    """A run in the folder of its sweep."""
    workdir = folder / run.name
    data_dir = sweep.data_dir or str(folder / "data")
    command = (python, "-m", sweep.launcher, f"--config={RESOLVED}:{workdir / ASKED}", f"--workdir={workdir}")
    return Placed(run, workdir, (*command, f"--data_dir={data_dir}", *sweep.flags))


def shown(command: tuple[str, ...]) -> str:
    """A command as a shell takes it."""
    return shlex.join(command)


@contextlib.contextmanager
def locked(file: Path) -> Iterator[int | None]:
    """Holds a lock and gives its file descriptor; None if another process holds it.

    The lock is the open file's: a child that inherits the descriptor keeps it for as long as it lives.
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
