"""Curves of a stage: JSONL of every step's metrics and rates, and trackers that also get them."""

import json
from collections.abc import Mapping, Sequence

from etils import epath

from fac_jax.io import LocalMirror, write_text
from fac_jax.parallel.hosts import is_first
from fac_jax.training.trackers import DEFAULT, TRACKERS, Tracker

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
    opened at a step first drops all lines after it, so that a resumed curve has no line twice. In a cloud store, where
    nothing can be appended, lines appear with `flush`. Of several hosts the first one writes.
    """

    def __init__(self, directory: epath.PathLike, step: int, trackers: Sequence[str] = DEFAULT) -> None:
        self._mirror: LocalMirror | None = None
        self._trackers: list[Tracker] = []
        if not is_first():
            return
        directory = epath.Path(directory)
        self._mirror = LocalMirror(directory)
        for file in (JSONL, RATES):
            kept = [line for line in read_curve(directory, file) if line["step"] <= step]
            write_text(self._mirror.folder / file, "".join(json.dumps(line) + "\n" for line in kept))
        self._mirror.copy()
        self._trackers = [TRACKERS[name](directory, step) for name in trackers]

    def write(self, step: int, metrics: dict[str, float], rates: dict[str, float]) -> None:
        """Writes one line for a step to each file; none to the rates' file if there are none yet."""
        if self._mirror is not None:
            for file, values in ((JSONL, metrics), (RATES, rates)):
                if values:
                    with (self._mirror.folder / file).open("a") as opened:
                        opened.write(json.dumps({"step": step, **values}) + "\n")
        self.track(step, metrics | rates)

    def track(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands metrics, such as those of an evaluation, to the trackers only."""
        for tracker in self._trackers:
            tracker.log(step, metrics)

    def flush(self) -> None:
        """Stores everything, so that a checkpoint never has more steps than the curve."""
        if self._mirror is not None:
            self._mirror.copy()
        for tracker in self._trackers:
            tracker.flush()

    def close(self) -> None:
        """Stores everything and closes the trackers."""
        if self._mirror is not None:
            self._mirror.close()
        for tracker in self._trackers:
            tracker.close()
