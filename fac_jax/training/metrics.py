"""Curves of a stage: JSONL of every step's metrics and rates, and trackers that also get them."""

import json
from collections.abc import Mapping, Sequence

from etils import epath

from fac_jax.io import is_local, write_text
from fac_jax.parallel.hosts import is_first
from fac_jax.training.trackers import DEFAULT, TRACKERS

JSONL = "metrics.jsonl"
RATES = "rates.jsonl"


def read_curve(directory: epath.PathLike, file: str = JSONL) -> list[dict[str, float]]:
    """Reads all lines of a stage's metrics, in order of steps, without a line that was cut off by a crash."""
    path = epath.Path(directory) / file
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class MetricLog:
    """Writes `metrics.jsonl` and `rates.jsonl` under a stage's directory, and hands the values to its trackers.

    The metrics contain no clock, so that two equal runs give equal bytes; rates have a file of their own. A log that is
    opened at a step first drops all lines after it, so that a resumed curve has no line twice. Of several hosts the
    first one writes.
    """

    def __init__(self, directory: epath.Path, step: int, trackers: Sequence[str] = DEFAULT) -> None:
        self._writes = is_first()
        if not self._writes:
            return
        self._metrics, self._rates = (_Lines(directory, file, step) for file in (JSONL, RATES))
        self._trackers = [TRACKERS[name](directory, step) for name in trackers]

    def write(self, step: int, metrics: dict[str, float], rates: dict[str, float]) -> None:
        """Writes one line for a step to each file; none to the rates' file if there are none yet."""
        if not self._writes:
            return
        for file, values in ((self._metrics, metrics), (self._rates, rates)):
            if values:
                file.add(json.dumps({"step": step, **values}) + "\n")
        self.track(step, metrics | rates)

    def track(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands metrics, such as those of an evaluation, to the trackers only."""
        if self._writes:
            for tracker in self._trackers:
                tracker.log(step, metrics)

    def flush(self) -> None:
        """Stores everything, so that a checkpoint never has more steps than the curve."""
        if self._writes:
            for opened in (self._metrics, self._rates, *self._trackers):
                opened.flush()

    def close(self) -> None:
        """Stores everything and closes the trackers."""
        if not self._writes:
            return
        self._metrics.flush()
        self._rates.flush()
        for tracker in self._trackers:
            tracker.close()


class _Lines:
    """A file of lines: appended to at once on a local disk, rewritten by `flush` in a cloud store."""

    def __init__(self, directory: epath.Path, file: str, step: int) -> None:
        """Keeps the lines up to `step`."""
        kept = [line for line in read_curve(directory, file) if line["step"] <= step]
        self._path = epath.Path(directory) / file
        self._text = "".join(json.dumps(line) + "\n" for line in kept)
        write_text(self._path, self._text)

    def add(self, line: str) -> None:
        """Appends a line, which ends with a line break."""
        if not is_local(self._path):
            self._text += line
            return
        with self._path.open("a") as opened:
            opened.write(line)

    def flush(self) -> None:
        """Stores all lines."""
        if not is_local(self._path):
            write_text(self._path, self._text)
