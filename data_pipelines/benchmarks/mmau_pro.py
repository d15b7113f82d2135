"""MMAU-Pro: a parquet file of questions, and the folder of audio that data.zip holds."""

import ast
import json
from typing import Any

from data_pipelines.benchmarks.base import Column, DataSet, Layout, Values, text, texts, whole
from data_pipelines.benchmarks.snapshot import layouts, read_parquet


def _settings(value: Any) -> dict[str, Any]:
    """The settings of a rule: an object, or a text that holds one as JSON or as Python writes it."""
    if isinstance(value, str):
        value = _literal(value) if value.strip() else {}
    if not isinstance(value, dict):
        raise ValueError("must be an object")
    return value


def _literal(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        pass
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        raise ValueError("must be an object") from None


def _counted(values: Values) -> Values:
    paths = values.get("audio_path")
    return {"audio_count": len(paths) if isinstance(paths, list) else 1, **values}


def _several(fields: Values) -> str | None:
    """The paper takes the rows with one audio file only."""
    return "several audio files" if fields["audio_count"] > 1 else None


BENCHMARKS: tuple[DataSet, ...] = (
    DataSet(
        name="mmau-pro/test",
        source="gamma-lab-umd/MMAU-Pro (Hugging Face; unpack data.zip)",
        expected=5305,  # with the rows that are left out
        layouts=(Layout("test.parquet", read_parquet), *layouts("", "test")),
        columns=(
            Column("question"),
            Column("choices", parse=texts, default=[]),  # none for open questions
            Column("answer", parse=text, default=""),  # none for instructions
            Column("category"),
            Column("task_identifier", default=""),
            Column("kwargs", parse=_settings, default={}),
            Column("audio_count", parse=whole),
        ),
        audio=("audio_path", "file_name"),
        replies=("model_output", "model_prediction"),
        adapt=_counted,
        left_out=_several,
    ),
)
