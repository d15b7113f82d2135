"""The tasks of multi-task DPO, each left out (paper, section 2.4).

python -m experiments.sweep --config experiments/configs/ablations/dpo_tasks.py --workdir runs/ablations/dpo_tasks

Fifteen runs. Expected: the better replies of a task that is left out gain less on the worse ones.
"""

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import points

MIXTURE = "stages.preference.data.mixture."
PAIRS = {
    "robustness": ("robustness", "robustness_spoken"),
    "instruction": ("instruction_spoken",),
    "understanding": ("understanding",),
    "empathy": ("empathy_spoken",),
}


def get_config() -> ConfigDict:
    """Returns a sweep of all tasks, and all but one, with three seeds."""
    without = {f"no {task}": {MIXTURE + name: 0 for name in names} for task, names in PAIRS.items()}
    return ablation({"tasks": points({"all": {}, **without})}, (*UNTIL_STAGE2, "preference"))
