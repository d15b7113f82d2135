"""Mixing of modes in joint training: speech or text in, speech or text out, each left out of stages 1 and 2.

python -m experiments.sweep --config experiments/configs/ablations/mode_mixing.py --workdir runs/ablations/mode_mixing

Twelve runs. Expected: what is left out is forgotten, and text laid beside silence helps spoken replies.
"""

from ml_collections import ConfigDict

from experiments.configs.ablations import UNTIL_STAGE2, ablation
from experiments.sweeps.axes import points

MODES = {
    "text": ("text_qa", "text_statements", "text_rehearsed"),
    "speech to text": ("s2t", "speakers", "word_counts", "noisy_asr", "moods_asr"),
    "silent": ("silent_qa", "silent_statements"),
}


def get_config() -> ConfigDict:
    """Returns a sweep of all modes, and all but one, with three seeds."""
    without = {
        f"no {mode}": {f"stages.{stage}.data.mixture.{name}": 0 for stage in ("stage1", "stage2") for name in names}
        for mode, names in MODES.items()
    }
    return ablation({"modes": points({"all": {}, **without})}, UNTIL_STAGE2)
