"""Core-Cocktail's alpha: the share of stage 1 that the merge keeps in the Shared LLM (paper, section 2.3).

python -m experiments.sweep --config experiments/configs/ablations/cocktail_alpha.py --workdir runs/ablations/alpha

Fifteen runs. Expected: after stage 2 text-only knowledge falls with alpha; what is heard is answered as well.
"""

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import grid


def get_config() -> ConfigDict:
    """Returns a sweep of five shares and three seeds; 1 is no merge, 0 resets the LLM to that before stage 1."""
    return ablation({"alpha": grid({"stages.merge.merge.alphas.backbone/": (0.0, 0.25, 0.5, 0.75, 1.0)})}, UNTIL_STAGE2)
