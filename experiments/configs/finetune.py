"""A model of ours, or one that came in by `experiments.convert`, trained further to answer aloud on spoken sums.

python -m experiments.train --config experiments/configs/finetune.py --workdir runs/tuned --config.model.init_from=DIR
"""

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from experiments.configs.quickstart import stage, text
from experiments.run.mesh import anywhere


def get_config() -> ConfigDict:
    """One stage on the mixture that the quickstart ends with, from the model in `model.init_from`."""
    seed = FieldReference(0)
    counts = {"s2s": 10, "t2s": 5, "t2s_statements": 3, "s2t": 2, **text(1, 2, 1)}
    return ConfigDict(
        {
            "seed": seed,
            **anywhere(),
            "recipe": ("finetune",),
            "model": {"init_from": placeholder(str), "dtype": "float32", "param_dtype": "float32"},
            "data": {
                "world": {"seed": seed},
                "codec": {"units": 128, "seed": seed},
                "codec_from": placeholder(str),
                "augment": None,
                "processes": 2,
            },
            "stages": {"finetune": stage(seed, 100, 5e-4, counts)},
        }
    )
