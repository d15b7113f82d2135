"""Mixing of modes in joint training: speech or text in, speech or text out, each left out of the last stage.

python -m experiments.sweep --config experiments/configs/ablations/mode_mixing.py --workdir runs/ablations/mode_mixing

Twelve quickstarts. Expected: what is left out is forgotten, and text laid beside silence helps spoken replies.
"""

from ml_collections import ConfigDict

from experiments.sweeps.axes import points
from experiments.sweeps.config import sweep

COUNTS = "stages.speak.data.counts."
MODES = {
    "text": ("text_qa", "text_statements", "text_facts"),
    "speech to text": ("s2t",),
    "silent": ("silent_qa", "silent_statements"),
}


def get_config() -> ConfigDict:
    """All modes, and all but one; three seeds."""
    without = {f"no {mode}": {COUNTS + name: 0 for name in names} for mode, names in MODES.items()}
    return sweep(
        "experiments.quickstart", "experiments/configs/quickstart.py", {"modes": points({"all": {}, **without})}
    )
