"""Preference pairs of one's own: multi-task DPO of both streams from a model of ours or a converted one.

python -m experiments.train --config experiments/configs/preferences.py --workdir runs/preferred \
    --config.model.init_from=DIR --config.data.sets.pairs.path=pairs.jsonl

Log-probabilities of the model to start from are made once and stored in the stage's folder. Waves are as they are; with
`data.sets.pairs.waves` the reference has to hear them too: --config.stages.dpo.loss.reference=frozen.
"""

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from experiments.configs.records import config_of, stage


def get_config() -> ConfigDict:
    """One stage on one set; weights as in the toy recipe, not tuned."""
    seed = FieldReference(0)
    sets = {"pairs": {"path": placeholder(str), "format": placeholder(str), "root": placeholder(str)}}
    preference = {"kind": "preference", "beta": 0.1, "speech_weight": 0.5, "reference": "stored"}
    preference |= {"text_anchor": 1.0, "speech_anchor": 1.0}
    dpo = stage(seed, 500, 5e-7, {"pairs": 1.0}, loss=preference)
    dpo["data"] |= {"rows": 2, "segments": 8}  # most pairs of a row
    return config_of(seed, sets, {"dpo": dpo})
