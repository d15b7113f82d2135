"""Multi-task DPO of the 30B-A3B on preference pairs of one's own.

python -m experiments.plan --config experiments/configs/dpo_30b_a3b.py --topology v5p:4x4x4
python -m experiments.train --config experiments/configs/dpo_30b_a3b.py --workdir runs/dpo_30b --config.mesh.fsdp=-1 \
    --config.model.init_from=DIR --config.data.sets.mine.path=pairs.jsonl

A step holds twice the rows of fine-tuning, chosen and rejected. Neither beta nor the learning rate is published:
beta is DPO's usual 0.1, and neither is tuned. The reference's log-probabilities are stored; with
--config.stages.dpo.loss.reference=frozen its parameters are held too.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.preferences import LOSS, SEGMENTS
from experiments.configs.sft_8b import BATCH, full_size


def get_config() -> ConfigDict:
    """Returns a config of one stage."""
    data = {**BATCH, "segments": SEGMENTS}
    return full_size("30b_a3b", {"dpo": base.stage(1000, 5e-7, {"mine": 1.0}, loss=LOSS, data=data)})
