"""Multi-task DPO of the 8B on preference pairs of one's own, as `dpo_30b_a3b.py` of the 30B-A3B.

python -m experiments.plan --config experiments/configs/dpo_8b.py --topology v5e:8x8
python -m experiments.train --config experiments/configs/dpo_8b.py --workdir runs/dpo_8b --config.mesh.fsdp=-1 \
    --config.model.init_from=DIR --config.data.sets.mine.path=pairs.jsonl
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.preferences import LOSS, SEGMENTS
from experiments.configs.sft_8b import BATCH, full_size


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    data = {**BATCH, "segments": SEGMENTS}
    return full_size("8b", {"dpo": base.stage(1000, 5e-7, {"mine": 1.0}, loss=LOSS, data=data)})
