"""The recipe of `recipe_toy.py` in a smaller world, for ablations: operands to 5, a third of the rows in a batch.

python -m experiments.post_training --config experiments/configs/recipe_small.py --workdir runs/small

Up to stage 2 seed 0 took 17 minutes of half a core (two other trainings ran).
"""

from typing import Any

from ml_collections import ConfigDict

from experiments.configs import recipe_toy
from experiments.configs.quickstart import text

VOICES = (
    *("en-us", "en-us+m1", "en-us+f1", "en-us+belinda", "en-us+robert", "en-us-nyc+m2", "en-us-nyc+Andrea"),
    *("en-gb-x-rp", "en-gb-x-rp+m3", "en-gb-x-rp+f1", "en-gb-x-rp+Alicia", "en-gb-scotland+m4", "en-gb-scotland+f3"),
    *("en-029+m6", "en-029+f2", "en-us+f2"),
)


def stage(steps: int, peak: float, counts: dict[str, int]) -> dict[str, Any]:
    """Changes of a stage of the toy recipe."""
    return {"steps": steps, "optimizer": {"peak": peak, "floor": peak / 10}, "data": {"counts": counts}}


def get_config() -> ConfigDict:
    """The stages of the toy recipe, shortened."""
    config = recipe_toy.get_config()
    known = {"text_copy": 4, **text(8, 4, 24)}
    read = {"voice": 4, "voice_statements": 1, "asr": 20}
    talk = {"s2s": 8, "t2s": 2, "t2s_statements": 1, "silent_qa": 3, "silent_statements": 2, "s2t": 6}
    talk |= {"text_rehearsed": 2, **text(1, 1, 0)}
    talk |= {"openings_spoken": 1, "paces_spoken": 1, "speakers": 4, "word_counts": 1, "noisy_asr": 2, "moods_asr": 1}
    pairs = {"robustness_spoken": 2, "instruction_spoken": 2, "empathy_spoken": 1, "robustness": 2, "understanding": 2}
    replayed = {"s2s": 2, "s2t": 2, "text_rehearsed": 2}
    second = stage(80, 1.5e-4, talk)
    config.update(
        {
            "data": {
                "world": {
                    "limit": 5,
                    "test_pairs": 12,
                    "dev_pairs": 3,
                    "read_aloud": 240,
                    "transcribe": 120,
                    "train_voices": VOICES,
                },
                "pairs": {"train": 320, "test": 60},
            },
            "model": {"context": 1024},  # groups of one speech token take many positions
            "stages": {
                "text_pretraining": stage(300, 4e-3, known),
                "pre_alignment": stage(400, 5e-3, read),
                "stage1": stage(240, 1.5e-3, talk),
                "stage2": second,
                "control": second,
                "preference": stage(120, 3e-4, pairs | replayed),
            },
        }
    )
    return config
