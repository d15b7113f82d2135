"""The paper's recipe in the toy world: text, pre-alignment, stage 1, merge, stage 2, multi-task DPO; and a control.

make recipe                                                                     (the whole way, with a report)
python -m experiments.train --config experiments/configs/recipe_toy.py --workdir runs/recipe        (training alone)

Two thirds of the facts (capitals, colours, ..) are text pre-training's alone: no later stage has a row of them, and
text-only knowledge is measured on them. Learning rates keep the published ratios: a cosine to a tenth, and stage 2 at
a tenth of stage 1. Both stages meet both replies of the training pairs as plain rows: the model says either and prefers
neither, until DPO. Its settings are not tuned yet: see the state in the README.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference

from experiments.configs.quickstart import text

HEARING = ("encoder/", "speech_embedder/", "refined_head/")  # all but the Shared LLM


def stage(seed: FieldReference, steps: int, peak: float, counts: dict[str, int], **values: Any) -> dict[str, Any]:
    """A stage of `steps` on `counts` rows of each task, cosine from `peak` to a tenth of it."""
    optimizer = {"peak": peak, "floor": peak / 10, "warmup": 0.05, "b2": 0.98, "weight_decay": 0.01, "clip_norm": 1.0}
    shared = {"checkpoint_every": 100, "seed": seed}
    return {"steps": steps, "optimizer": optimizer, "data": {"counts": counts}, **shared, **values}


def get_config() -> ConfigDict:
    """Seven stages; `control` is stage 2 without the merge before it."""
    seed = FieldReference(0)  # of the world, the codec and every stage: --config.seed changes all
    talk = {"s2s": 12, "t2s": 4, "t2s_statements": 2, "silent_qa": 5, "silent_statements": 4, "s2t": 8}
    talk |= {"text_rehearsed": 3, **text(1, 1, 0), "sides_spoken": 3, "sides": 2}
    second = stage(seed, 200, 1e-4, talk)
    preference = {
        "kind": "sigmoid",
        "beta": 0.1,
        "speech_weight": 0.5,
        "text_anchor": 1.0,
        "speech_anchor": 1.0,
        "reference": "stored",
    }
    pairs = {"robustness_spoken": 3, "instruction_spoken": 3, "empathy_spoken": 3, "robustness": 3, "understanding": 4}
    return ConfigDict(
        {
            "seed": seed,
            "recipe": ("text_pretraining", "pre_alignment", "stage1", "merge", "stage2", "control", "dpo"),
            "model": {"preset": "tiny", "dtype": "float32"},
            "data": {
                "world": {"seed": seed},
                "pairs": {"train": 240, "test": 60},
                "codec": {"units": 128, "seed": seed},
                "vocab_size": 512,
                "augment": None,
                "processes": 2,
            },
            "stages": {
                "text_pretraining": stage(seed, 500, 3e-3, {"text_copy": 8, **text(20, 8, 28)}, speech_weight=0.0),
                "pre_alignment": stage(
                    seed, 500, 4e-3, {"t2s": 6, "t2s_statements": 2, "asr": 24}, trainable=HEARING, ctc_weight=1.0
                ),
                "stage1": stage(seed, 800, 1e-3, talk),
                "merge": {"steps": 0, "merge": {"start": "text_pretraining", "alphas": {"backbone/": 0.5}}},
                "stage2": second,
                "control": {**second, "start_from": "stage1"},
                "dpo": stage(seed, 300, 3e-4, pairs, loss="preference", preference=preference, start_from="stage2"),
            },
        }
    )
