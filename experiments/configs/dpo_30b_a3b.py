"""Multi-task DPO of the 30B-A3B on preference pairs of one's own.

python -m experiments.plan --config experiments/configs/dpo_30b_a3b.py --topology v5e:16x16

A step holds twice the rows of fine-tuning, chosen and rejected. Neither beta nor the learning rate is published:
beta is DPO's usual 0.1, and neither is tuned. The reference's log-probabilities are stored; with
--config.stages.dpo.loss.reference=frozen its parameters are held too.
"""

from ml_collections import ConfigDict, FieldReference

from experiments.configs.sft_8b import full_size, stage


def get_config() -> ConfigDict:
    """One stage."""
    seed = FieldReference(0)
    preference = {"kind": "preference", "beta": 0.1, "speech_weight": 0.5, "reference": "stored"}
    preference |= {"text_anchor": 1.0, "speech_anchor": 1.0}
    dpo = stage(seed, 5e-7, loss=preference)
    dpo["data"]["segments"] = 8  # most pairs of a row
    return full_size("30b_a3b", {"dpo": dpo}, seed)
