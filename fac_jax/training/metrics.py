"""Curves of a stage: JSONL of every step's metrics and rates, and trackers that also get them."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Final

from etils import epath

from fac_jax.io import is_local, write_text
from fac_jax.parallel.hosts import is_first
from fac_jax.training.trackers import DEFAULT, open_tracker

JSONL = "metrics.jsonl"
RATES = "rates.jsonl"
SECONDS: Final = 60.0  # between two writes of a file in a cloud store


def read_curve(directory: epath.PathLike, file: str = JSONL) -> list[dict[str, float]]:
    """All lines of a stage's metrics, in order of steps; a line that was cut off by a crash is left out."""
    path = epath.Path(directory) / file
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class MetricLog:
    """Writes `metrics.jsonl` and `rates.jsonl` under a stage's directory, and tells its trackers.

    The metrics hold what training computed and no clock, so that two runs of the same thing give the same bytes; rates
    have a file of their own. Opened at a step, the log first forgets all lines after it, so that a resumed curve has no
    line twice. Of several hosts the first writes, for all.
    """

    def __init__(self, directory: epath.PathLike, step: int, trackers: Sequence[str] = DEFAULT) -> None:
        self._writes = is_first()
        if not self._writes:
            return
        self._metrics, self._rates = (_Lines(epath.Path(directory) / file, step) for file in (JSONL, RATES))
        self._trackers = [open_tracker(name, directory, step) for name in trackers]

    def write(self, step: int, metrics: dict[str, float], rates: dict[str, float]) -> None:
        """One line for a step in each file; none of rates while there are none."""
        if not self._writes:
            return
        for file, values in ((self._metrics, metrics), (self._rates, rates)):
            if values:
                file.write(json.dumps({"step": step, **values}) + "\n")
        for tracker in self._trackers:
            tracker.log(step, metrics | rates)

    def track(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands the metrics of an evaluation to the trackers."""
        if self._writes:
            for tracker in self._trackers:
                tracker.log(step, metrics)

    def flush(self) -> None:
        """Writes out all lines, so that a checkpoint never has a step that they lack."""
        if not self._writes:
            return
        for opened in (self._metrics, self._rates, *self._trackers):
            opened.flush()

    def close(self) -> None:
        """Writes out all lines and ends the trackers."""
        if not self._writes:
            return
        for opened in (self._metrics, self._rates, *self._trackers):
            opened.close()


class _Lines:
    """A JSONL file that grows.

    A local file gets every line at once. A cloud store cannot append: there the whole file is written again, every
    `SECONDS` and when it is flushed.
    """

    def __init__(self, file: epath.Path, step: int) -> None:
        """Keeps the lines of the file up to a step."""
        kept = [line for line in read_curve(file.parent, file.name) if line["step"] <= step]
        self._file, self._text = file, "".join(json.dumps(line) + "\n" for line in kept)
        write_text(file, self._text)
        self._appended = file.open("a") if is_local(file) else None
        self._written = time.monotonic()

    def write(self, line: str) -> None:
        """Adds a line."""
        if self._appended is not None:
            self._appended.write(line)
            self._appended.flush()
            return
        self._text += line
        if time.monotonic() - self._written > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes out what is not written yet."""
        if self._appended is None:
            write_text(self._file, self._text)
            self._written = time.monotonic()

    def close(self) -> None:
        """Writes out what is not written yet and closes the file."""
        self.flush()
        if self._appended is not None:
            self._appended.close()
