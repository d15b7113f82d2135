"""The paper's way from a text LLM to the 8B: pre-alignment, Core-Cocktail stage 1, merge, stage 2.

python -m experiments.plan --config experiments/configs/cocktail_8b.py --topology v5p:4x4x4 --stage stage1
python -m experiments.train --config experiments/configs/cocktail_8b.py --workdir runs/cocktail_8b \
    --config.mesh.fsdp=-1 --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl \
    --config.data.sets.heard.path=recordings.jsonl --config.data.sets.read.path=recordings.jsonl

DIR is made of Qwen3-8B, a Whisper encoder and fresh speech parts by `experiments.convert assemble`
(docs/checkpoints.md). `heard` are recordings that are transcribed, `read` the same that are read aloud, `mine`
conversations. Stage 1 trains everything from 1e-4 to 1e-5, stage 2 from 1e-5 to 1e-6, as published; before stage 2 the
Shared LLM becomes half of what stage 1 made of it and half of DIR's, so that it keeps what it knew. How long the stages
are, and the learning rate of pre-alignment, are not published. With an aligned model, a converted release for example,
leave pre-alignment out: --config.recipe="('stage1', 'stage2')". `dpo_8b.py` comes after it. Not run at full size here.
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.recipe_toy import PRE_ALIGNED
from experiments.configs.sft_8b import BATCH, MODEL
from experiments.run.schema import DataConfig
from fac_jax.training.stage import MergeConfig


def get_config() -> ConfigDict:
    """Returns a config of three stages, the last of which merges before its first step."""
    again = base.stage(1000, 1e-5, {"mine": 1.0}, data=BATCH)
    stages = {
        "pre_alignment": base.stage(1000, 1e-4, {"heard": 1.0, "read": 1.0}, trainable=PRE_ALIGNED, data=BATCH),
        "stage1": base.stage(1000, 1e-4, {"mine": 1.0}, data=BATCH),
        "stage2": dataclasses.replace(again, merge=MergeConfig()),
    }
    sets = {"heard": base.rows(), "read": base.rows(view="tts"), "mine": base.rows()}
    return base.config({"preset": "8b", **MODEL}, stages, data=DataConfig(sets=sets))
