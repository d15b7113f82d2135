"""Fine-tuning of the 8B on conversations of one's own, with the release's recipe: all parameters, both losses.

python -m experiments.plan --config experiments/configs/sft_8b.py --topology v5e:8x8          (does it fit, how fast)
python -m experiments.train --config experiments/configs/sft_8b.py --workdir runs/sft_8b --config.mesh.fsdp=-1 \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

DIR is a converted release (docs/checkpoints.md). AdamW, cosine to a tenth, 2 % warm-up, bfloat16 products, layers
computed again, packed rows of 2048 LLM positions; the learning rate is that of Core-Cocktail's second stage. Parameters
and moments are float32. A row brings room for 128 windows of 2 s, 256 s of the user's audio. Not run at full size here:
docs/scaling.md has its plans.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from experiments.run.mesh import anywhere

CONTEXT = 2048  # LLM positions of a row
WINDOWS = 128  # of 2 s in a row


def stage(seed: FieldReference, peak: float, **values: Any) -> dict[str, Any]:
    """A stage of the release's recipe, from `peak` to a tenth of it, a row on every part of the mesh."""
    optimizer = {"peak": peak, "floor": peak / 10, "warmup": 0.02, "weight_decay": 0.01, "clip_norm": 1.0}
    data = {"rows": 1, "parts": 1, "seq_len": CONTEXT, "windows": WINDOWS, "mixture": {"mine": 1.0}}
    return {"steps": 1000, "optimizer": optimizer, "data": data, "checkpoint_every": 100, "seed": seed, **values}


def full_size(preset: str, stages: dict[str, Any], seed: FieldReference) -> ConfigDict:
    """A recipe for one of the released sizes."""
    model = {"preset": preset, "init_from": placeholder(str), "dtype": "bfloat16", "param_dtype": "float32"}
    return ConfigDict(
        {
            "seed": seed,
            "recipe": tuple(stages),
            "model": {**model, "remat": "full"},
            **anywhere(),
            "attention": "flash",
            "data": {"sets": {"mine": {"path": placeholder(str), "format": placeholder(str)}}},
            "stages": stages,
        }
    )


def get_config() -> ConfigDict:
    """One stage."""
    seed = FieldReference(0)
    return full_size("8b", {"sft": stage(seed, 1e-5)}, seed)
