"""The recipe of `recipe_toy.py` in a smaller world, for ablations: operands to 5, a third of the rows in a batch.

python -m experiments.post_training --config experiments/configs/recipe_small.py --workdir runs/small
"""

import dataclasses
from collections.abc import Mapping

from ml_collections import ConfigDict

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.preferences import PairsConfig
from experiments.configs.quickstart import DATA, packed, text
from experiments.configs.recipe_toy import LOSS, PRE_ALIGNED, recipe, stage
from fac_jax.losses import Sft

VOICES = (
    *("en-us", "en-us+m1", "en-us+f1", "en-us+belinda", "en-us+robert", "en-us-nyc+m2", "en-us-nyc+Andrea"),
    *("en-gb-x-rp", "en-gb-x-rp+m3", "en-gb-x-rp+f1", "en-gb-x-rp+Alicia", "en-gb-scotland+m4", "en-gb-scotland+f3"),
    *("en-029+m6", "en-029+f2", "en-us+f2"),
)
WORLD = WorldConfig(limit=5, test_pairs=12, dev_pairs=3, read_aloud=240, transcribe=120, train_voices=VOICES)
KNOWN = {"text_copy": 4, **text(8, 4, 24)}
READ = {"voice": 4, "voice_statements": 1, "asr": 20}
TALK: Mapping[str, float] = {
    **{"s2s": 8, "t2s": 2, "t2s_statements": 1, "silent_qa": 3, "silent_statements": 2, "s2t": 6},
    **{"text_rehearsed": 2, **text(1, 1, 0)},
    **{"openings_spoken": 1, "paces_spoken": 1, "speakers": 4, "word_counts": 1, "noisy_asr": 2, "moods_asr": 1},
}
# Instruction's pairs differ in their speech only. With a third of these rows in half of these steps they had no effect.
PAIRS = {"robustness_spoken": 2, "instruction_spoken": 6, "empathy_spoken": 1, "robustness": 2, "understanding": 2}
REPLAYED = {"s2s": 2, "s2t": 2, "text_rehearsed": 2}


def get_config() -> ConfigDict:
    """Returns the toy recipe with shortened stages."""
    aligned = {"loss": Sft(ctc_weight=1.0), "trainable": PRE_ALIGNED, "data": packed(24, 56, segments=1)}
    return recipe(
        {"context": 1024},  # groups of one speech token take many positions
        dataclasses.replace(DATA, world=WORLD, waves=WaveAugmentConfig(), pairs=PairsConfig(train=320, test=60)),
        text_pretraining=stage(300, 4e-3, KNOWN, loss=Sft(speech_weight=0.0), data=packed(16, 112)),
        pre_alignment=stage(400, 5e-3, READ, **aligned),
        stage1=stage(300, 1.5e-3, TALK, data=packed(12, 160)),
        stage2=stage(120, 1.5e-4, TALK, data=packed(12, 160)),
        preference=stage(240, 3e-4, PAIRS | REPLAYED, loss=LOSS, data=packed(8, 128, segments=4)),
    )
