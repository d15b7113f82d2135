"""MMSU, the audio benchmark of spoken language understanding (the subset of VoiceBench is in voicebench.py)."""

from data_pipelines.benchmarks.base import Column, DataSet, Layout, Missing
from data_pipelines.benchmarks.reading import read_text
from data_pipelines.benchmarks.snapshot import layouts

BENCHMARKS: tuple[DataSet, ...] = (
    DataSet(
        name="mmsu/test",
        source="ddwang2000/MMSU (Hugging Face)",
        expected=5000,
        layouts=(
            *layouts("", "train"),  # the only split there
            *layouts("", "test"),
            Layout("mmsu.jsonl", read_text),
            Layout("mmsu.json", read_text),
        ),
        columns=(
            Column("question", default=Missing.ABSENT),  # it is asked, not scored
            Column("choice_a"),
            Column("choice_b"),
            Column("choice_c", default=None),  # some questions have two choices
            Column("choice_d", default=None),
            Column("answer_gt"),
            Column("task_name", default=Missing.ABSENT),
            Column("category"),
            Column("sub-category"),
        ),
        audio=("audio_path", "file_name"),
        replies=("response",),
        unanswered=True,
    ),
)
