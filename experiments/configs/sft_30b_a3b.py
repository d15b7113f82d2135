"""Fine-tuning of the 30B-A3B on conversations of one's own, as `sft_8b.py` fine-tunes the 8B.

python -m experiments.plan --config experiments/configs/sft_30b_a3b.py --topology v5p:4x4x4
python -m experiments.train --config experiments/configs/sft_30b_a3b.py --workdir runs/sft_30b --config.mesh.fsdp=-1 \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.sft_8b import BATCH, full_size


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    return full_size("30b_a3b", {"sft": base.stage(1000, 1e-5, {"mine": 1.0}, data=BATCH)})
