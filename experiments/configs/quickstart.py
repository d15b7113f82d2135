"""The quickstart: a small Fun-Audio-Chat trained from nothing on spoken sums, the paper's way up to stage 2.

python -m experiments.quickstart --workdir runs/quickstart                   (the whole way, with a report)
python -m experiments.train --config experiments/configs/quickstart.py --workdir runs/quickstart

The stages of `recipe_toy.py` shortened, without preferences. Times and results stand in the README.
"""

from ml_collections import ConfigDict, FieldReference

from experiments.configs.toy import TALK, core_cocktail

STEPS = {"text_pretraining": 320, "pre_alignment": 320, "stage1": 480, "stage2": 120}


def get_config() -> ConfigDict:
    """Text pre-training, pre-alignment, stage 1, merge, stage 2."""
    seed = FieldReference(0)  # of the world, the codec and every stage: --config.seed changes all
    stages = core_cocktail(seed, STEPS, {**TALK, "text_rehearsed": 1, "text_qa": 1, "text_statements": 1})
    return ConfigDict(
        {
            "seed": seed,
            "recipe": tuple(stages),
            "model": {"preset": "tiny", "dtype": "float32"},
            "data": {
                "world": {"seed": seed},
                "codec": {"units": 128, "seed": seed},
                "vocab_size": 512,
                "augment": None,  # 45 voices vary enough; SpecAugment hides whole words of so short an audio
                "processes": 2,
            },
            "stages": stages,
        }
    )
