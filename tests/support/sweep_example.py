"""Sweeps of a launcher that only counts."""

from typing import Any

from experiments.sweeps.axes import grid
from experiments.sweeps.config import SweepConfig, read_sweep, sweep

QUICKSTART = "experiments/configs/quickstart.py"
SIZES = {"k": grid({"model.group_size": (1, 3)})}


def made(axes: Any, seeds: tuple[int, ...] = (), **others: Any) -> SweepConfig:
    """A sweep that needs no room."""
    config = sweep("toy_launcher", QUICKSTART, axes, seeds, **({"disk_gib": 0.0} | others))
    config.local.memory_gib = 0.0
    return read_sweep(config)
