"""What a full-duplex model needs: to hear while it talks, turns before calls, text beside calls, weights of idle slots.

python -m experiments.sweep --config experiments/configs/ablations/duplex.py --workdir runs/ablations/duplex

Twenty-one runs from a finished runs/quickstart, on the calls of `make duplex` in runs/duplex/data; 100 calls of each
scenario. Expected: a model that is deaf while it talks is not interrupted, and does the rest; without the half-duplex
stage fewer answers are right; without rows in turns these are forgotten; the weight of idle slots decides nothing,
since a call undoes it. A delay of two groups makes answers 0.4 s later.

The delay needs other calls:

python -m data_pipelines.duplex toy --out runs/duplex_late/data --audio flac --delay_groups=2
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs.duplex_toy import MIXTURE
from experiments.configs.quickstart_whisper import FROZEN
from experiments.sweeps.axes import points
from experiments.sweeps.config import sweep

LATE = "runs/duplex_late/data"
DEAF = tuple(f"(?!beside/){pattern}" for pattern in FROZEN)  # the matrix keeps its zeros
CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "deaf while it talks": {"stages.duplex.trainable": DEAF},
    "without the half-duplex stage": {"model.init_from": "runs/quickstart/ears"},
    "calls alone": {f"stages.duplex.data.mixture.{name}": 0 for name in MIXTURE if name != "calls"},
    "idle weight 1": {"model.duplex.idle_weight": 1.0},
    "idle weight 0.1": {"model.duplex.idle_weight": 0.1},
    "delay of two groups": {
        "model.delay_groups": 2,
        "data.sets.calls.path": f"{LATE}/train",
        "data.sets.calls.eval_path": f"{LATE}/dev",
    },
}


def get_config() -> ConfigDict:
    """Returns a sweep of one change at a time, with three seeds."""
    return sweep(
        "experiments.full_duplex",
        "experiments/configs/duplex_toy.py:runs/duplex/data",
        {"change": points(CHANGES)},
        fixed={"model.init_from": "runs/quickstart"},
        flags=("--rows=100", "--nosweeps"),
        local={"processes": 1, "memory_gib": 6.0},
    )
