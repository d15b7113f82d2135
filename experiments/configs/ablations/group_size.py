"""Group size k: how many 25 Hz speech tokens share a position of the LLM (paper, section 2.1; the release has 5).

python -m experiments.sweep --config experiments/configs/ablations/group_size.py --workdir runs/ablations/group_size

Twelve runs. Expected: k = 5 costs a fraction of the FLOPs of k = 1, and answers about as well; at k = 7 the head has
more to open from one state, and is heard right less often.
"""

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import grid


def get_config() -> ConfigDict:
    """Four sizes, three seeds."""
    return ablation({"k": grid({"model.group_size": (1, 3, 5, 7)})}, UNTIL_STAGE2)
