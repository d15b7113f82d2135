"""Big Bench Audio: four kinds of reasoning tasks, read aloud."""

from data_pipelines.benchmarks.base import Column, DataSet, Layout
from data_pipelines.benchmarks.reading import read_text
from data_pipelines.benchmarks.snapshot import layouts

BENCHMARKS: tuple[DataSet, ...] = (
    DataSet(
        name="bigbench-audio/test",
        source="ArtificialAnalysis/big_bench_audio (Hugging Face)",
        expected=1000,
        layouts=(Layout("metadata.jsonl", read_text), *layouts("", "train"), *layouts("", "test")),
        columns=(
            Column("transcript", default=""),  # the official set has none
            Column("official_answer"),
            Column("category"),
        ),
    ),
)
