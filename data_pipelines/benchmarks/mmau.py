"""MMAU test-mini, version of 15 May 2025: the JSON file of its repository with a folder of audio, or Hugging Face's."""

import json
import string
from typing import Any

from data_pipelines.benchmarks.base import Column, DataSet, Layout, Missing, Values, texts
from data_pipelines.benchmarks.reading import read_text
from data_pipelines.benchmarks.snapshot import layouts

LETTERS = tuple(f"({letter})" for letter in string.ascii_uppercase)


def _is_lettered(choice: Any, letter: str) -> bool:
    return isinstance(choice, str) and choice.startswith(letter)


def _flat(values: Values) -> Values:
    """The values in the form of the JSON file.

    Hugging Face's form packs the categories into one column, some of them as lists of one, and puts "(A) " and so on
    before the choices and the answer.
    """
    attributes = values.get("other_attributes") or {}
    found: dict[str, Any] = {**values, **(json.loads(attributes) if isinstance(attributes, str) else attributes)}
    for name in ("category", "sub-category"):
        if isinstance(found.get(name), list) and len(found[name]) == 1:
            found[name] = found[name][0]
    choices = found.get("choices")
    if isinstance(choices, list) and all(map(_is_lettered, choices, LETTERS)):
        found["choices"] = [choice[3:].strip() for choice in choices]
        if found.get("answer") in choices:
            found["answer"] = found["answer"][3:].strip()
    return found


BENCHMARKS: tuple[DataSet, ...] = (
    DataSet(
        name="mmau/test-mini",
        source="mmau-test-mini.json and test-mini-audios (https://github.com/Sakshi113/MMAU) or "
        "gamma-lab-umd/MMAU-test-mini (Hugging Face)",
        expected=1000,
        layouts=(Layout("mmau-test-mini.json", read_text), *layouts("", "test_mini"), *layouts("", "test")),
        columns=(
            Column("question", ("instruction",)),
            Column("choices", parse=texts),
            Column("answer"),
            Column("task"),
            Column("difficulty"),
            Column("category", default=Missing.ABSENT),
            Column("sub-category", default=Missing.ABSENT),
        ),
        audio=("audio_id", "file_name"),
        replies=("model_output", "model_prediction"),
        unanswered=True,
        adapt=_flat,
    ),
)
