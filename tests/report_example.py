"""A small report with right and wrong answers, hostile text and several seeds."""

from typing import Any

import numpy as np

from fac_jax.evaluation.page import Sound, Stage
from fac_jax.evaluation.report import Answer, Report

RATE = 16_000


def tone(hertz: float, seconds: float = 1.2) -> Sound:
    time_axis = np.arange(round(seconds * RATE)) / RATE
    sweep = np.sin(2 * np.pi * hertz * time_axis * (1 + 0.3 * np.sin(4 * time_axis)))
    return Sound((0.4 * sweep * np.hanning(sweep.size)).astype(np.float32), RATE)


def example(**changes: Any) -> Report:
    words = "two three four five six".split()
    answers = [
        Answer(
            question=f"what is {word} plus one?",
            voice="en-us+m3, 190 words/min",
            expected=f"{word} plus one is {result}",
            written=f"{word} plus one is {result if i != 1 else 'nine'}",
            heard=f"{word} plus one is {result}",
            question_sound=tone(300 + 40 * i) if i < 4 else None,
            reply_sound=tone(500 + 40 * i) if i < 4 else None,
        )
        for i, (word, result) in enumerate(zip(words, "three four five six seven".split(), strict=True))
    ]
    hostile = "<script>alert(1)</script>"
    answers.append(Answer(f"say {hostile}", hostile, hostile, hostile, heard=""))
    steps = np.arange(0, 300, 2)
    curve = [float(x) for x in 4 * np.exp(-steps / 60) + 0.1 + 0.02 * np.sin(steps)]
    rising = (steps.tolist(), curve)
    values: dict[str, Any] = {
        "title": "A small Fun-Audio-Chat answers aloud",
        "summary": "Trained from nothing on spoken arithmetic; asked by voices it never heard.",
        "metrics": {"text_qa_accuracy": 1.0, "s2t_accuracy": 0.945, "s2s_heard_accuracy": 5 / 6, "reply_wer": 0.05},
        "parameters": 1_234_567,
        "seconds_total": 725,
        "stages": [
            Stage("data", 41.2),
            Stage("text pre-training", 69.0, {"text loss": rising}),
            Stage("joint", 256.0, {"text loss": rising, "speech loss": (rising[0], [2 * v for v in curve])}),
        ],
        "answers": answers,
        "environment": {"jax": "0.10.2", "machine": "2 cores", "command": "make quickstart " + "x" * 90},
        "seeds": {
            "0": {"s2t_accuracy": 0.945, "s2s_heard_accuracy": 5 / 6},
            "1": {"s2s_heard_accuracy": 0.8},
            "2": {"s2s_heard_accuracy": 0.8167},
        },
    }
    return Report(**(values | changes))
