"""Rows of one's own: a model of ours, or one that came in by `experiments.convert`, fine-tuned on them.

python -m experiments.train --config experiments/configs/records.py --workdir runs/tuned \
    --config.model.init_from=DIR --config.data.sets.mine.path=rows.jsonl

docs/finetuning.md says what it takes and what can be changed. With a preset (--config.model.preset=tiny) in place of a
model it begins from nothing, which takes far more than these steps.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

# Mild changes of what users say; None leaves one out (docs/data_augmentation.md).
WAVES: dict[str, Any] = {
    "speed": None,
    "room": {"probability": 0.2},
    "noise": {"probability": 0.3, "snr_db": (10.0, 30.0)},
    "gain": {"probability": 0.5},
    "telephone": None,
}


def rows_in(path: Any, **values: Any) -> dict[str, Any]:
    """A set whose audio is changed as `WAVES` says."""
    return {"path": path, "waves": dict(WAVES), **values}


def stage(seed: FieldReference, steps: int, peak: float, mixture: dict[str, float], **values: Any) -> dict[str, Any]:
    """A stage as the release is fine-tuned: AdamW, cosine to a tenth of `peak`, a warm-up of 2 %, packed rows.

    `windows` are found from the rows.
    """
    optimizer = {"peak": peak, "floor": peak / 10, "warmup": 0.02, "weight_decay": 0.01, "clip_norm": 1.0}
    # In proportion to size; a larger temperature evens small and large sets out.
    data = {"rows": 4, "seq_len": 2048, "mixture": mixture, "temperature": 1.0, "workers": 0}
    shared = {"checkpoint_every": 100, "seed": seed}
    return {"steps": steps, "optimizer": optimizer, "data": data, **shared, **values}


def config_of(seed: FieldReference, sets: dict[str, Any], stages: dict[str, Any]) -> ConfigDict:
    """A recipe of those stages, in their order, on those sets."""
    return ConfigDict(
        {
            "seed": seed,
            "recipe": tuple(stages),
            "model": {"init_from": placeholder(str), "preset": placeholder(str), "remat": "full"},
            "data": {
                "sets": sets,
                "tokenizer": placeholder(str),
                "codec": placeholder(str),
                "units": placeholder(int),
                "vocab_size": 8192,
                "processes": 1,
            },
            "stages": stages,
        }
    )


def get_config() -> ConfigDict:
    """One stage on one set."""
    seed = FieldReference(0)
    sets = {"mine": rows_in(placeholder(str), format=placeholder(str), root=placeholder(str))}
    return config_of(seed, sets, {"finetune": stage(seed, 1000, 1e-5, {"mine": 1.0})})
