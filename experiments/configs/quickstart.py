"""The quickstart: a small Fun-Audio-Chat trained from nothing on spoken sums, in four stages.

python -m experiments.quickstart --workdir runs/quickstart                   (the whole way, with a report)
python -m experiments.train --config experiments/configs/quickstart.py --workdir runs/quickstart

Times and results stand in the README.
"""

from typing import Any

from ml_collections import ConfigDict, FieldReference
from ml_collections.config_dict import placeholder

from experiments.run.mesh import anywhere

WRITTEN = {"kind": "sft", "speech_weight": 0.0}  # loss of stages without spoken replies
TEXT = ("text_qa", "text_statements", "text_facts")


def stage(
    seed: FieldReference, steps: int, peak: float, counts: dict[str, int], fall: float = 20, **values: Any
) -> dict[str, Any]:
    """A stage that trains for `steps` on `counts` rows of each task, cosine from `peak` to `peak / fall`."""
    optimizer = {"peak": peak, "floor": peak / fall, "warmup": 0.05, "b2": 0.98, "weight_decay": 0.01, "clip_norm": 1.0}
    shared = {"checkpoint_every": 100, "seed": seed}
    return {"steps": steps, "optimizer": optimizer, "data": {"counts": counts}, **shared, **values}


def text(questions: int, statements: int, facts: int) -> dict[str, int]:
    """Rows of the text that keeps the LLM knowing; tasks without any are left out."""
    return {name: count for name, count in zip(TEXT, (questions, statements, facts), strict=True) if count}


def get_config() -> ConfigDict:
    """Text pre-training; encoder warm-up by CTC; spoken questions, written replies; spoken replies."""
    spoken = {"s2s": 10, "t2s": 5, "t2s_statements": 2}
    # Without text laid beside silence, replies to sums that were never spoken end in a neighbour's result.
    silent = {"silent_qa": 6, "silent_statements": 5}
    speaking = {**spoken, **silent, "s2t": 2, **text(1, 1, 1)}
    seed = FieldReference(0)  # of the world, the codec and every stage: --config.seed changes all
    return ConfigDict(
        {
            "seed": seed,
            **anywhere(),
            "recipe": ("text", "ears", "listen", "speak"),
            "model": {"preset": "tiny", "dtype": "float32"},
            "data": {
                "world": {"seed": seed},
                "codec": {"units": 128, "seed": seed},
                "codec_from": placeholder(str),  # a codec that is there already, in place of fitting one
                "vocab_size": 512,
                "augment": None,  # 45 voices vary enough; SpecAugment hides whole words of so short an audio
                "processes": 2,
            },
            "stages": {
                "text": stage(seed, 270, 3e-3, text(34, 14, 12), loss=WRITTEN),
                "ears": stage(seed, 400, 4e-3, {"asr": 32}, loss={"kind": "ctc"}, trainable=("encoder/",)),
                "listen": stage(seed, 230, 2e-3, {"s2t": 22, **text(5, 4, 1)}, loss=WRITTEN),
                "speak": stage(seed, 540, 2e-3, speaking, loss={"kind": "sft", "speech_weight": 1.0}),
            },
        }
    )
