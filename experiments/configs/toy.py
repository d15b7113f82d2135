"""The whole recipe on the offline world: text, ears, spoken questions, spoken replies.

python -m experiments.train --config experiments/configs/toy.py --workdir runs/toy
"""

from typing import Any

from ml_collections import ConfigDict


def stage(steps: int, peak: float, counts: dict[str, int], **values: Any) -> dict[str, Any]:
    """A stage that trains for `steps` on `counts` rows of each task, cosine from `peak` to a tenth of it."""
    optimizer = {"peak": peak, "floor": peak / 10, "warmup": 0.05, "b2": 0.98, "weight_decay": 0.01, "clip_norm": 1.0}
    return {"steps": steps, "optimizer": optimizer, "data": {"counts": counts}, "checkpoint_every": 100, **values}


def get_config() -> ConfigDict:
    """Sizes and rates of the toy recipe."""
    return ConfigDict(
        {
            "recipe": ("text", "ears", "listen", "speak"),
            "model": {"preset": "tiny", "dtype": "float32"},
            "data": {"world": {"seed": 0}, "codec": {"units": 128}, "vocab_size": 512, "processes": 2},
            "stages": {
                "text": stage(200, 3e-3, {"text_qa": 48, "text_facts": 16}, speech_weight=0.0),
                "ears": stage(300, 4e-3, {"asr": 32}, loss="ctc", trainable=("encoder/",)),
                "listen": stage(350, 2e-3, {"s2t": 24, "text_qa": 6, "text_facts": 2}, speech_weight=0.0),
                "speak": stage(460, 2e-3, {"s2s": 12, "t2s": 8, "text_qa": 3, "text_facts": 1}),
            },
        }
    )
