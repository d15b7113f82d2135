"""What a full-duplex model needs: to hear while it talks, turns before calls, text beside calls, how it hears a call.

python -m experiments.sweep --config experiments/configs/ablations/duplex.py --workdir runs/ablations/duplex

Thirty-six runs from a finished runs/quickstart, on the calls of `make duplex` in runs/duplex/data; 800 steps in place
of 2,100, and 100 calls of each scenario. Expected: without text, answers that are heard collapse; a model that is deaf
while it talks is not interrupted, and does the rest; without the half-duplex stage fewer answers are right; without
rows in turns these are forgotten; the weight of idle slots decides nothing, since a call undoes it; a model that never
heard its own echo stops at it. Every group of delay makes answers 0.2 s later; without one, what is said first is
guessed before its text is there, and heard right less often. An encoder that hears a window for every slot, in place of
every slot once, hears at least as well, and costs more; a merge with the model before calls costs skills in
calls for skills in turns.

Other delays and a channel without echo need other calls:

python -m data_pipelines.duplex toy --out runs/duplex_delay_0/data --audio flac --delay_groups=0
python -m data_pipelines.duplex toy --out runs/duplex_delay_2/data --audio flac --delay_groups=2
python -m data_pipelines.duplex toy --out runs/duplex_no_echo/data --audio flac --delay_groups=1 \
    --channel='{"echo": {"probability": 0}}'
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs.duplex_toy import MIXTURE
from experiments.configs.quickstart_whisper import FROZEN
from experiments.sweeps.axes import points
from experiments.sweeps.config import sweep


def _calls(name: str) -> dict[str, Any]:
    folder = f"runs/duplex_{name}/data"
    return {"data.sets.calls.path": f"{folder}/train", "data.sets.calls.eval_path": f"{folder}/dev"}


DEAF = tuple(f"(?!beside/){pattern}" for pattern in FROZEN)  # the matrix keeps its zeros
CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "without text": {"model.duplex.texts": False},
    "deaf while it talks": {"stages.duplex.trainable": DEAF},
    "without the half-duplex stage": {"model.init_from": "runs/quickstart/ears"},
    "calls alone": {f"stages.duplex.data.mixture.{name}": 0 for name in MIXTURE if name != "calls"},
    "idle weight 1": {"model.duplex.idle_weight": 1.0},
    "idle weight 0.1": {"model.duplex.idle_weight": 0.1},
    **{f"delay {groups}": {"model.delay_groups": groups, **_calls(f"delay_{groups}")} for groups in (0, 2)},
    "without echo": _calls("no_echo"),
    "a window for every slot": {"model.duplex.stream": "slide"},
    "merged": {"recipe": ("duplex", "merge")},
}


def get_config() -> ConfigDict:
    """Returns a sweep of one change at a time, with three seeds."""
    return sweep(
        "experiments.full_duplex",
        "experiments/configs/duplex_toy.py:runs/duplex/data",
        {"change": points(CHANGES)},
        fixed={"model.init_from": "runs/quickstart", "stages.duplex.steps": 800},
        flags=("--rows=100", "--nosweeps"),
        local={"processes": 1, "memory_gib": 6.0},
    )
