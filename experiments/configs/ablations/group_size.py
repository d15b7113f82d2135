"""Group size k: how many 25 Hz speech tokens share a position of the LLM (paper, section 2.1; the release has 5).

python -m experiments.sweep --config experiments/configs/ablations/group_size.py --workdir runs/ablations/group_size

Twelve quickstarts. Expected: k = 5 costs a fraction of the FLOPs of k = 1, and answers about as well; at k = 7 the
head has more to open from one state, and is heard right less often.
"""

from ml_collections import ConfigDict

from experiments.sweeps.axes import grid
from experiments.sweeps.config import sweep


def get_config() -> ConfigDict:
    """Four sizes, three seeds; at k = 1 a conversation takes up to five times the positions."""
    axes = {"k": grid({"model.group_size": (1, 3, 5, 7)})}
    base = "experiments/configs/quickstart.py"
    return sweep("experiments.quickstart", base, axes, fixed={"model.context": 1024})
