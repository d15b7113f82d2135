"""The paper's recipe in the toy world: text, pre-alignment, stage 1, merge, stage 2, multi-task DPO; and a control.

make recipe                                                                     (the whole way, with a report)
python -m experiments.train --config experiments/configs/recipe_toy.py --workdir runs/recipe        (training alone)

Two thirds of the facts (capitals, colours, ..) are text pre-training's alone: no later stage has a row of them, and
text-only knowledge is measured on them. Learning rates keep the published ratios: a cosine to a tenth, and stage 2 at
a tenth of stage 1. Both stages learn from the training pairs' sounds what DPO will ask for in other words
(`data_pipelines/worlds/capabilities.py`). Its settings are being tuned: see the state in the
README.
"""

from ml_collections import ConfigDict, FieldReference

from experiments.configs.toy import TALK, core_cocktail, stage

CAPABLE = {"openings_spoken": 2, "paces_spoken": 3, "speakers": 3, "noisy_asr": 4}
STEPS = {"text_pretraining": 500, "pre_alignment": 500, "stage1": 450, "stage2": 150}


def get_config() -> ConfigDict:
    """Seven stages; `control` is stage 2 without the merge before it."""
    seed = FieldReference(0)  # of the world, the codec and every stage: --config.seed changes all
    talk = {**TALK, "text_rehearsed": 3, "text_qa": 1, "text_statements": 1, **CAPABLE}
    stages = core_cocktail(seed, STEPS, talk)
    preference = {
        "kind": "sigmoid",
        "beta": 0.1,
        "speech_weight": 0.5,
        "text_anchor": 1.0,
        "speech_anchor": 1.0,
        "reference": "stored",
    }
    pairs = {"robustness_spoken": 3, "instruction_spoken": 3, "empathy_spoken": 3, "robustness": 3, "understanding": 4}
    dpo = stage(seed, 300, 3e-4, pairs, loss="preference", preference=preference, start_from="stage2")
    return ConfigDict(
        {
            "seed": seed,
            "recipe": (*stages, "control", "dpo"),
            "model": {"preset": "tiny", "dtype": "float32"},
            "data": {
                "world": {"seed": seed},
                "pairs": {"train": 960, "test": 60},
                "codec": {"units": 128, "seed": seed},
                "vocab_size": 512,
                "augment": None,
                "processes": 2,
            },
            "stages": {**stages, "control": {**stages["stage2"], "start_from": "stage1"}, "dpo": dpo},
        }
    )
