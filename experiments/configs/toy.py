"""What the toy world's configs share: the paper's stages up to stage 2 of Core-Cocktail, and their mixtures."""

from collections.abc import Mapping
from typing import Any

from ml_collections import FieldReference

# The speech that the LLM says comes back to it through `embed` and `discrete`. They start with stage 1: a stage 1 that
# finds them trained reads the next word from the speech of sums it has heard, and fails on others (spoken replies to
# sums never heard: 0.15 to 0.46 right after it, 0.90 to 0.95 otherwise). For the same reason rows read aloud teach
# pre-alignment their speech alone ("voice").
PRE_ALIGNED = ("encoder/", "speech_embedder/continuous/", "refined_head/")
TEXT = ("text_qa", "text_statements", "text_facts")
# Without text laid beside silence, replies to sums that were never spoken end in a neighbour's result.
TALK = {"s2s": 12, "t2s": 4, "t2s_statements": 2, "silent_qa": 5, "silent_statements": 4, "s2t": 8}


def stage(seed: FieldReference, steps: int, peak: float, counts: Mapping[str, int], **values: Any) -> dict[str, Any]:
    """A stage of `steps` on `counts` rows of each task, cosine from `peak` to a tenth of it."""
    optimizer = {"peak": peak, "floor": peak / 10, "warmup": 0.05, "b2": 0.98, "weight_decay": 0.01, "clip_norm": 1.0}
    shared = {"checkpoint_every": 100, "seed": seed}
    return {"steps": steps, "optimizer": optimizer, "data": {"counts": counts}, **shared, **values}


def text(questions: int, statements: int, facts: int) -> dict[str, int]:
    """Rows of the text that the LLM learns from and keeps."""
    return dict(zip(TEXT, (questions, statements, facts), strict=True))


def core_cocktail(seed: FieldReference, steps: Mapping[str, int], talk: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """The stages before DPO: text pre-training, pre-alignment, stage 1, merge, stage 2 at a tenth of stage 1's rate.

    Args:
      seed: of every stage.
      steps: of every stage that trains, by its name.
      talk: rows of a batch of stages 1 and 2, by task.
    """
    known, read = {"text_copy": 8, **text(20, 8, 28)}, {"voice": 6, "voice_statements": 2, "asr": 24}
    return {
        "text_pretraining": stage(seed, steps["text_pretraining"], 3e-3, known, speech_weight=0.0),
        "pre_alignment": stage(seed, steps["pre_alignment"], 4e-3, read, trainable=PRE_ALIGNED, ctc_weight=1.0),
        "stage1": stage(seed, steps["stage1"], 1e-3, talk),
        "merge": {"steps": 0, "merge": {"start": "text_pretraining", "alphas": {"backbone/": 0.5}}},
        "stage2": stage(seed, steps["stage2"], 1e-4, talk),
    }
