"""A model of ours, or one that came in by `experiments.convert`, trained further to answer aloud on spoken sums.

python -m experiments.train --config experiments/configs/finetune_toy.py --workdir runs/tuned \
    --config.model.init_from=DIR
"""

import dataclasses

from ml_collections import ConfigDict

from experiments.configs import base
from experiments.configs.quickstart import DATA, packed, stage, text


def get_config() -> ConfigDict:
    """Returns a config of one stage on the quickstart's last mixture, from the model in `model.init_from`."""
    mixture = {"s2s": 10, "t2s": 5, "t2s_statements": 3, "s2t": 2, **text(1, 2, 1)}
    stages = {"finetune": stage(100, 5e-4, mixture, data=packed(16, 112))}
    data = dataclasses.replace(DATA, unit_codec=None)  # the model brings its codec
    return base.config({"dtype": "float32"}, stages, data=data)
