"""An adapter for the 8B on one card of 24 GB: as `lora_8b.py`, with the base in nf4 (docs/adapters.md).

python -m experiments.plan --config experiments/configs/qlora_8b.py --topology rtx4090:1
python -m experiments.train --config experiments/configs/qlora_8b.py --workdir runs/qlora_8b \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

The kernels of the Shared LLM and of the refined head take 4.1 bits a weight; the audio encoder and the tables stay
bfloat16. Not run at full size here: docs/adapters.md has its plans, with the memory and the time of a step.
"""

from ml_collections import ConfigDict

from experiments.configs.lora_8b import adapted
from fac_jax.training.base import BaseConfig


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    return adapted("8b", BaseConfig("nf4"))
