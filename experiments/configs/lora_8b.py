"""An adapter for the 8B on conversations of one's own, on one card of 48 GB or more (docs/adapters.md).

python -m experiments.plan --config experiments/configs/lora_8b.py --topology l40s:1
python -m experiments.train --config experiments/configs/lora_8b.py --workdir runs/lora_8b \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

DIR is a converted release (docs/checkpoints.md). The base is bfloat16 and frozen; adapters of rank 16 on all linear
layers of the Shared LLM and of the refined head train in float32, at ten times the learning rate of `sft_8b.py`. A step
takes 16 rows of 2040 LLM positions, one row at a time, with room for 90 windows of 2 s of the user's audio in each. Not
run at full size here: docs/adapters.md has its plans, with the memory and the time of a step.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.sft_8b import full_size
from fac_jax.models.lora import LoraConfig
from fac_jax.training.base import BaseConfig

BATCH = {"batch_rows": 16, "seq_len": 2040, "windows_per_row": 90, "segments": 32}


def adapted(preset: str, held: BaseConfig) -> ConfigDict:
    """Returns a recipe of one stage that trains an adapter of a released size, whose base is held in that form."""
    changes = {"lora": LoraConfig(), "base": held, "micro_batches": 16}
    stage = base.stage(1000, 1e-4, {"mine": 1.0}, data=BATCH, **changes)
    return full_size(preset, {"lora": stage}, param_dtype="bfloat16")


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    return adapted("8b", BaseConfig())
