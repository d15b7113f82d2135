"""Two rows of every benchmark by the names of its canonical fields, and waves for them."""

import json
from typing import Any

import numpy as np

# Rows by their canonical fields, two for each benchmark.
_TOOL = {"type": "function", "function": {"name": "add", "description": "d", "parameters": {"type": "dict"}}}
_CALLS = [
    {
        "utterance": f"Add {n} and 1.",
        "function": json.dumps([_TOOL]),
        "ground_truth": json.dumps([{"add": {"a": [n], "b": [1]}}]),
        "category": "made",
        "index": n,
    }
    for n in range(2)
]
_CHOICES = {"question": "What is it?", "choices": ["A dog", "A cat"], "answer": "A cat"}
_MMSU = {"question": "Which?", "choice_a": "x", "choice_b": "y", "choice_c": None, "choice_d": None, "answer_gt": "y"}
_RULES = {"instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"]}
_PROMPTS = [{"prompt": "Say 你好."}, {"prompt": "Line one.\u2028Line two."}]
_SPOKEN = [{"question": "Who?", "reference": "['a', 'b']"}, {"question": "Why, then?", "reference": 'so "it" is'}]
_BY_FAMILY: dict[str, list[dict[str, Any]]] = {
    "openaudiobench": _SPOKEN,
    "voicebench": _PROMPTS,
    "ultraeval": [{"label": "Paris"}, {"label": "Rome"}],
    "mmau": [
        {**_CHOICES, "task": task, "difficulty": "easy", "category": "Reasoning", "sub-category": "s"}
        for task in ("sound", "music")
    ],
    "mmau-pro": [
        {**_CHOICES, "category": "sound", "task_identifier": "", "kwargs": {}, "audio_count": 1},
        {
            "question": "Obey.",
            "choices": [],
            "answer": "",
            "category": "instruction following",
            "task_identifier": "Keyword Frequency",
            "kwargs": {"keyword": "the", "N": 2},
            "audio_count": 1,
        },
    ],
    "mmsu": [{**_MMSU, "task_name": f"t{n}", "category": "Perception", "sub-category": "Phonology"} for n in range(2)],
    "asr": [{"ref": "HELLO WORLD", "language": "en"}, {"ref": "GOOD MORNING", "language": "en"}],
    "speechfc": _CALLS,
    "vstyle": [
        {"ability": f"empathy/{part}", "instruct_text": f"Speak {n}.", "instruct_id": f"i{n}"}
        for n, part in enumerate(("anger", "joy_excitement"))
    ],
    "bigbench-audio": [
        {"transcript": "", "official_answer": answer, "category": "navigate"} for answer in ("Yes", "No")
    ],
}
_BY_NAME: dict[str, list[dict[str, Any]]] = {
    "openaudiobench/alpaca_eval": [{**row, "reference": ""} for row in _SPOKEN],
    **{
        f"voicebench/{name}": [{**row, "reference": "B"} for row in _PROMPTS]
        for name in ("sd-qa", "mmsu", "openbookqa")
    },
    "voicebench/ifeval": [
        {**row, "key": n, **_RULES, "kwargs": [{}, {"num_words": n + 5}]} for n, row in enumerate(_PROMPTS)
    ],
    "ultraeval/speech-web-questions": [{"label": ["Paris", "paris"]}, {"label": ["Rome"]}],
    "ultraeval/speech-chatbot-alpaca-eval": _PROMPTS,
    "asr/common-voice-zh": [{"ref": "你好", "language": "zh"}, {"ref": "早上好", "language": "zh"}],
    **{f"speechfc/ace-{mode}": [{**row, "time": "2025"} for row in _CALLS] for mode in ("single", "parallel")},
}


def sample_rows(benchmark: str) -> list[dict[str, Any]]:
    """Two rows of a benchmark, by the names of its canonical fields."""
    return _BY_NAME.get(benchmark) or _BY_FAMILY[benchmark.partition("/")[0]]


def sample_waves(count: int = 2) -> list[np.ndarray]:
    """Tones of 0.1 s at 16 kHz, each of its own height."""
    return [(0.3 * np.sin(np.arange(1600) * (n + 1) / 10)).astype(np.float32) for n in range(count)]
