"""An adapter for the 30B-A3B on one card of 80 GB, with the base in nf4 (docs/adapters.md).

python -m experiments.plan --config experiments/configs/lora_30b_a3b.py --topology h100:1
python -m experiments.train --config experiments/configs/lora_30b_a3b.py --workdir runs/lora_30b \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

As `lora_8b.py`, with adapters of the attention and of the refined head; the experts are frozen and in nf4, and so is
all else but the audio encoder and the tables. Not run at full size here: docs/adapters.md has its plans.
"""

from ml_collections import ConfigDict

from experiments.configs.lora_8b import adapted
from fac_jax.training.base import BaseConfig


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    return adapted("30b_a3b", BaseConfig("nf4"))
