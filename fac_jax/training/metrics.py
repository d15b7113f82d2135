"""Curves of a stage: a JSONL of every step's metrics, and TensorBoard."""

import json
from pathlib import Path

from tensorboardX import SummaryWriter

from fac_jax.files import write_text
from fac_jax.parallel.hosts import is_first

JSONL = "metrics.jsonl"


def read_curve(directory: Path) -> list[dict[str, float]]:
    """All lines of a stage's metrics, in order of steps; a line that was cut off by a crash is left out."""
    path = directory / JSONL
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


class MetricLog:
    """Writes `metrics.jsonl` and `tensorboard/` under a stage's directory.

    The JSONL holds what training computed and no clock, so that two runs of the same thing give the same bytes; rates
    go to TensorBoard only. Opened at a step, the log first forgets all lines after it, so that a resumed curve has no
    line twice. Of several hosts the first writes, for all.
    """

    def __init__(self, directory: Path, step: int) -> None:
        self._writes = is_first()
        if not self._writes:
            return
        directory.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_curve(directory) if line["step"] <= step]
        path = directory / JSONL
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file = path.open("a")
        self._board = SummaryWriter(str(directory / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, metrics: dict[str, float], rates: dict[str, float]) -> None:
        """One line for a step; `rates` (per second) are shown in TensorBoard alone."""
        if not self._writes:
            return
        self._file.write(json.dumps({"step": step, **metrics}) + "\n")
        self._file.flush()
        for name, value in (metrics | rates).items():
            self._board.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes both."""
        if not self._writes:
            return
        self._file.close()
        self._board.close()
