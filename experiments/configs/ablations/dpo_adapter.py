"""Multi-task DPO by an adapter: is what text knows kept better than by training the weights themselves?

python -m experiments.sweep --config experiments/configs/ablations/dpo_adapter.py --workdir runs/ablations/dpo_adapter \
    --config.stages_dir=runs/ablations/stages

Six runs of the toy recipe, not of the small one, whose budget is too short for the pairs of instruction. With
`stages_dir` the stages before DPO are trained once for each seed. The weights that train are those of the toy recipe:
the encoder, the speech embedder, the head, and the attention of the Shared LLM. The adapter has rank 16 on the kernels
among them, but none in the encoder, and its reference is the model without it. Expected: every task is preferred as
often, and less of what text knows is lost.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.sweeps.axes import points
from experiments.sweeps.config import sweep

STAGES = ("text_pretraining", "pre_alignment", "stage1", "merge", "stage2", "preference")
ATTENTION = r"backbone/decoder/.*attention/"
ADAPTER: dict[str, Any] = {
    "stages.preference.lora": {"targets": (ATTENTION, "head", "bridge"), "rank": 16},
    "stages.preference.trainable": None,
    "stages.preference.loss.reference": "adapter_off",
    # Chosen on seed 0 (findings in docs/results.md): 5e-4 forgets as much as the weights do, 2e-3 much more.
    "stages.preference.optimizer.peak": 3e-4,
    "stages.preference.optimizer.floor": 3e-5,
}


def get_config() -> ConfigDict:
    """Returns a sweep of both ways and three seeds."""
    return sweep(
        "experiments.post_training",
        "experiments/configs/recipe_toy.py",
        {"dpo": points({"weights": {}, "adapter": ADAPTER})},
        fixed={"recipe": STAGES, "questions.stages": ("stage2", "preference"), "questions.alphas": ()},
        local={"processes": 1, "memory_gib": 6.0},
    )
