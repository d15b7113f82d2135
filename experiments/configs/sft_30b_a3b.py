"""Fine-tuning of the 30B-A3B on conversations of one's own, as `sft_8b.py` fine-tunes the 8B.

python -m experiments.plan --config experiments/configs/sft_30b_a3b.py --topology v5e:16x16
"""

from ml_collections import ConfigDict, FieldReference

from experiments.configs.sft_8b import full_size, stage


def get_config() -> ConfigDict:
    """One stage."""
    seed = FieldReference(0)
    return full_size("30b_a3b", {"sft": stage(seed, 1e-5)}, seed)
