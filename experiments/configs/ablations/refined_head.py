"""The Speech Refined Head: with it, without its transformer, and without its pre-training in pre-alignment.

python -m experiments.sweep --config experiments/configs/ablations/refined_head.py --workdir runs/ablations/refined_head

Fifteen runs: three seeds do not decide it. Expected: spoken replies are heard right less often without. Without its
transformer, a token is told by its piece of the LLM's state and the token before.
"""

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import points

ALIGNED = "stages.pre_alignment."
UNTRAINED = {
    f"{ALIGNED}trainable": ("encoder/", "speech_embedder/continuous/"),
    f"{ALIGNED}data.mixture.voice": 0,
    f"{ALIGNED}data.mixture.voice_statements": 0,
    f"{ALIGNED}loss.speech_weight": 0.0,
}


def get_config() -> ConfigDict:
    """Returns a sweep of three heads and five seeds."""
    heads = {"with": {}, "without": {"model.head.depth": 0}, "without pre-training": UNTRAINED}
    return ablation({"head": points(heads)}, UNTIL_STAGE2, seeds=range(5))
