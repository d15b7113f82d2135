"""Curves of a stage: JSONL of every step's metrics and rates, and trackers that also get them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from fac_jax.io import write_text
from fac_jax.parallel.hosts import is_first
from fac_jax.training.trackers import DEFAULT, open_tracker

JSONL = "metrics.jsonl"
RATES = "rates.jsonl"


def read_curve(directory: Path, file: str = JSONL) -> list[dict[str, float]]:
    """All lines of a stage's metrics, in order of steps; a line that was cut off by a crash is left out."""
    path = directory / file
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class MetricLog:
    """Writes `metrics.jsonl` and `rates.jsonl` under a stage's directory, and tells its trackers.

    The metrics hold what training computed and no clock, so that two runs of the same thing give the same bytes; rates
    have a file of their own. Opened at a step, the log first forgets all lines after it, so that a resumed curve has no
    line twice. Of several hosts the first writes, for all.
    """

    def __init__(self, directory: Path, step: int, trackers: Sequence[str] = DEFAULT) -> None:
        self._writes = is_first()
        if not self._writes:
            return
        self._metrics, self._rates = (_reopened(directory, file, step) for file in (JSONL, RATES))
        self._trackers = [open_tracker(name, directory, step) for name in trackers]

    def write(self, step: int, metrics: dict[str, float], rates: dict[str, float]) -> None:
        """One line for a step in each file; none of rates while there are none."""
        if not self._writes:
            return
        for file, values in ((self._metrics, metrics), (self._rates, rates)):
            if values:
                file.write(json.dumps({"step": step, **values}) + "\n")
                file.flush()
        for tracker in self._trackers:
            tracker.log(step, metrics | rates)

    def track(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands the metrics of an evaluation to the trackers."""
        if self._writes:
            for tracker in self._trackers:
                tracker.log(step, metrics)

    def close(self) -> None:
        """Flushes all."""
        if not self._writes:
            return
        for opened in (self._metrics, self._rates, *self._trackers):
            opened.close()


def _reopened(directory: Path, file: str, step: int) -> TextIO:
    kept = [line for line in read_curve(directory, file) if line["step"] <= step]
    write_text(directory / file, "".join(json.dumps(line) + "\n" for line in kept))
    return (directory / file).open("a")
