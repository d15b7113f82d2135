"""VStyle: spoken instructions on how to speak, in English and Chinese; also the data sets of others' replies."""

from data_pipelines.benchmarks.base import Column, DataSet, Layout, anything
from data_pipelines.benchmarks.reading import read_text
from data_pipelines.benchmarks.snapshot import layouts

BENCHMARKS: tuple[DataSet, ...] = tuple(
    DataSet(
        name=f"vstyle/{language}",
        source="zhanjun/VStyle (Hugging Face)",
        expected=None,
        layouts=(Layout(f"{language}/metadata.jsonl", read_text), *layouts(language, "test")),
        columns=(
            Column("ability"),
            Column("instruct_text", ("text",)),
            Column("instruct_id", ("id",), anything),  # a text or a number
        ),
        key=("id", "instruct_id"),
        audio=("instruction_audio_path", "audio_path", "file_name"),
    )
    for language in ("en", "zh")
)
