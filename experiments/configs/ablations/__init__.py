"""Sweeps, one a file (docs/sweeps.md); ablations of the paper are sweeps of `recipe_small.py`."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from experiments.sweeps.config import sweep

UNTIL_STAGE2 = ("text_pretraining", "pre_alignment", "stage1", "merge", "stage2")


def ablation(axes: Mapping[str, Mapping[str, Any]], stages: tuple[str, ...]) -> ConfigDict:
    """Returns a sweep of three seeds of the small recipe's `stages`, whose report asks the model of stage 2."""
    fixed = {"recipe": stages, "questions.stages": ("stage2",), "questions.alphas": ()}
    local = {"processes": 2, "memory_gib": 4.0}
    return sweep("experiments.post_training", "experiments/configs/recipe_small.py", axes, fixed=fixed, local=local)
