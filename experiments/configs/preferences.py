"""Preference pairs of one's own: multi-task DPO of both streams from a model of ours or a converted one.

python -m experiments.train --config experiments/configs/preferences.py --workdir runs/preferred \
    --config.model.init_from=DIR --config.data.sets.pairs.path=pairs.jsonl

Log-probabilities of the model to start from are made once and stored in the stage's folder. Waves are left as they are:
a stored reference has not heard changed ones. With `data.sets.pairs.waves` take a reference that hears them too:
--config.stages.dpo.loss.reference=frozen.
"""

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.finetune import MODEL
from experiments.run.schema import DataConfig
from fac_jax.losses import Preference

LOSS = Preference(beta=0.1, speech_weight=0.5, text_anchor=1.0, speech_anchor=1.0)  # as in the toy recipe, not tuned
SEGMENTS = 8  # most pairs of a row


def get_config() -> ConfigDict:
    """Returns a config of one stage on one set."""
    data = {"batch_rows": 2, "segments": SEGMENTS, "temperature": 1.0}
    stages = {"dpo": base.stage(500, 5e-7, {"pairs": 1.0}, loss=LOSS, data=data)}
    return base.config(MODEL, stages, data=DataConfig(sets={"pairs": base.rows()}))
