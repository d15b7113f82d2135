"""Small reports: right and wrong answers, hostile text, several seeds; the stages of a recipe."""

from typing import Any

import numpy as np

from fac_jax.evaluation.reports.pages.page import Sound, Stage
from fac_jax.evaluation.reports.post_training import SHOWN, Exchange, PostTrainingReport, Preference
from fac_jax.evaluation.reports.report import Condition, Report, ScoredResponse
from fac_jax.types import PREFERENCE_TASKS

RATE = 16_000


def tone(hertz: float, seconds: float = 1.2) -> Sound:
    time_axis = np.arange(round(seconds * RATE)) / RATE
    sweep = np.sin(2 * np.pi * hertz * time_axis * (1 + 0.3 * np.sin(4 * time_axis)))
    return Sound((0.4 * sweep * np.hanning(sweep.size)).astype(np.float32), RATE)


def example(**changes: Any) -> Report:
    words = "two three four five six".split()
    answers = [
        ScoredResponse(
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
    answers.append(ScoredResponse(f"say {hostile}", hostile, hostile, hostile, heard=""))
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
        "conditions": [Condition("clean", 95, 100), Condition(f"room {hostile}", 70, 100)],
    }
    return Report(**(values | changes))


def recipe_example(**changes: Any) -> PostTrainingReport:
    def accuracies(value: float) -> dict[str, float]:
        return {name: value / (i + 1) for i, name in enumerate(SHOWN)}

    hostile = "<script>alert(1)</script>"
    steps = list(range(0, 100, 5))
    values: dict[str, Any] = {
        "title": "Post-training",
        "summary": "What every stage did.",
        "abilities": {"text_pretraining": accuracies(1.0), "stage1": accuracies(0.5), "merge": accuracies(0.75)},
        "sweep": {alpha: accuracies(1 - alpha) for alpha in (0.0, 0.5, 1.0)},
        "preference": {task: Preference(0.5, 0.95, 0.48, 0.9, 0.0, 0.8, 0.0, 0.7) for task in PREFERENCE_TASKS},
        "exchanges": [
            Exchange("instruction", hostile, "slow", tone(300), "quick", "slow", tone(400), tone(500)),
            Exchange("understanding", "who is speaking", "a man", tone(350), "", "a man"),
        ],
        "stages": [Stage("stage1", 61.0, {"text loss": (steps, [1 / (1 + s) for s in steps])}), Stage("merge", 1.0)],
        "seconds_total": 1234.5,
        "environment": {"seed": "0", "command": "make recipe " + "x" * 90},
    }
    return PostTrainingReport(**(values | changes))
