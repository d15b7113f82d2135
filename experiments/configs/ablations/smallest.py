"""The smallest sweep, to see one work: group size x grouping x two seeds, two steps of a model of three layers.

python -m experiments.sweep --config experiments/configs/ablations/smallest.py --workdir runs/smallest

Twelve runs of about 20 seconds of one core each. What it trains answers nothing.
"""

from ml_collections import ConfigDict

from experiments.sweeps.axes import grid
from experiments.sweeps.config import sweep

SMALL = {f"model.{part}.depth": 1 for part in ("text", "audio", "head")}
WORLD = {"data.world.clips_per_pair": 1, "data.world.read_aloud": 40, "data.world.transcribe": 10}


def get_config() -> ConfigDict:
    """Returns a sweep of three group sizes, two kinds of grouping and two seeds."""
    axes = {"grouping": grid({"model.group_size": (1, 3, 5), "model.grouping": ("mean", "concat")})}
    # With one token a group, a conversation takes up to three times the LLM positions of five.
    fixed = {"recipe": ("speak",), "stages.speak.steps": 2, "stages.speak.data.seq_len": 144, **SMALL, **WORLD}
    base = "experiments/configs/quickstart.py"
    return sweep("experiments.train", base, axes, seeds=(0, 1), fixed=fixed, local={"processes": 1, "memory_gib": 2.0})
