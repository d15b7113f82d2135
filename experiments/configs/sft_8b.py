"""Fine-tuning of the 8B on conversations of one's own, with the release's recipe: all parameters, both losses.

python -m experiments.plan --config experiments/configs/sft_8b.py --topology v5e:8x8          (does it fit, how fast)
python -m experiments.train --config experiments/configs/sft_8b.py --workdir runs/sft_8b --config.mesh.fsdp=-1 \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

DIR is a converted release (docs/checkpoints.md). AdamW, cosine to a tenth, 2 % warm-up, bfloat16 products, layers
computed again, 64 packed rows of 2048 LLM positions a step; the learning rate is that of Core-Cocktail's second stage.
Parameters and moments are float32. A row has room for 128 windows of 2 s, 256 s of the user's audio. Not run at full
size here: docs/scaling.md has its plans.
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.run.schema import DataConfig
from fac_jax.training.stage import StageConfig

BATCH = {"batch_rows": 64, "seq_len": 2048, "windows_per_row": 128, "segments": 32}
MODEL = {"dtype": "bfloat16", "remat": "full"}


def full_size(preset: str, stages: dict[str, StageConfig], **changes: Any) -> ConfigDict:
    """Returns a recipe for one of the released sizes, which `model.init_from` takes the place of.

    `changes` are other keys of `model`.
    """
    model: dict[str, Any] = {"preset": preset, **MODEL, **changes}
    return base.config(model, stages, data=DataConfig(sets={"mine": base.rows()}))


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    return full_size("8b", {"sft": base.stage(1000, 1e-5, {"mine": 1.0}, data=BATCH)})
