"""Group size k: how many 25 Hz speech tokens share a position of the LLM (paper, section 2.1; the release has 5).

python -m experiments.sweep --config experiments/configs/ablations/group_size.py --workdir runs/ablations/group_size

Twelve runs. Expected: k = 5 costs a fraction of the FLOPs of k = 1, and answers about as well; at k = 7 the head has
more to open from one state, and is heard right less often.

A spoken conversation of the toy world takes about 3.1 times the positions of k = 5 at k = 1, 1.4 times at k = 3 and 0.9
times at k = 7. The lengths of batches follow, so that a step of every size trains on about as many conversations.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import points

ALIGNED = {1: 256, 3: 112, 5: 80, 7: 72}  # LLM positions of a batch's row
TALK = {1: 512, 3: 224, 5: 160, 7: 144}


def get_config() -> ConfigDict:
    """Returns a sweep of four group sizes and three seeds."""
    return ablation({"group_size": points({str(k): _sized(k) for k in ALIGNED})}, UNTIL_STAGE2)


def _sized(k: int) -> dict[str, Any]:
    return {
        "model.group_size": k,
        "stages.pre_alignment.data.seq_len": ALIGNED[k],
        **{f"stages.{stage}.data.seq_len": TALK[k] for stage in ("stage1", "stage2")},
    }
