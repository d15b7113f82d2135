"""Sweeps, one a file (docs/sweeps.md); ablations of the paper are sweeps of `recipe_small.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from experiments.sweeps.config import sweep

UNTIL_STAGE2 = ("text_pretraining", "pre_alignment", "stage1", "merge", "stage2")


def ablation(
    axes: Mapping[str, Mapping[str, Any]],
    stages: tuple[str, ...],
    seeds: Sequence[int] = (0, 1, 2),
    fixed: Mapping[str, Any] | None = None,
) -> ConfigDict:
    """Returns a sweep of the small recipe's `stages`, whose report asks the model of stage 2.

    Args:
      axes: see `sweep`.
      stages: that every run has.
      seeds: of every point of the axes.
      fixed: changes of the recipe for all runs.
    """
    always = {"recipe": stages, "questions.stages": ("stage2",), "questions.alphas": ()}
    return sweep(
        "experiments.post_training",
        "experiments/configs/recipe_small.py",
        axes,
        seeds,
        fixed=always | dict(fixed or {}),
        local={"processes": 2, "memory_gib": 4.0},
    )
