"""Group size k: how many 25 Hz speech tokens share a position of the LLM (paper, section 2.1; the release has 5).

python -m experiments.sweep --config experiments/configs/ablations/group_size.py --workdir runs/ablations/group_size

Twelve runs. Expected: k = 5 costs a fraction of the FLOPs of k = 1, and answers about as well; at k = 7 the head has
more to open from one state, and is heard right less often.

Grouping makes the Shared LLM cheaper, not the head, which has k tokens at every position, also at those of text. So
the LLM has eight layers here and the head one, as in the 8B, where the head is small beside the LLM; and everybody
speaks at about half the speed of the small recipe, so that speech is more than half of a conversation at k = 1. With
the small recipe's own sizes and voices, k = 5 costs more than k = 1.

A conversation of stages 1 and 2 takes 2.0 times the positions of k = 5 at k = 1, 1.17 times at k = 3 and 0.93 times at
k = 7. The lengths of batches follow, so that all sizes train on as many seconds of audio.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import points

ALIGNED = {1: 136, 3: 72, 5: 60, 7: 56}  # LLM positions of a batch's row, one conversation
TALK = {1: 336, 3: 200, 5: 176, 7: 164}  # several conversations
SLOW = {"data.world.assistant.rate": 100, "data.world.rates": (95, 120)}
LARGE = {"model.text.depth": 8, "model.head.depth": 1}


def get_config() -> ConfigDict:
    """Returns a sweep of four group sizes and three seeds."""
    sizes = {"group_size": points({str(k): _sized(k) for k in ALIGNED})}
    return ablation(sizes, UNTIL_STAGE2, fixed={**SLOW, **LARGE})


def _sized(k: int) -> dict[str, Any]:
    return {
        "model.group_size": k,
        "stages.pre_alignment.data.seq_len": ALIGNED[k],
        **{f"stages.{stage}.data.seq_len": TALK[k] for stage in ("stage1", "stage2")},
    }
