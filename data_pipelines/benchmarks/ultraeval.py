"""The spoken questions of UltraEval-Audio: one data set of Hugging Face for each."""

from data_pipelines.benchmarks.base import Column, DataSet, anything
from data_pipelines.benchmarks.snapshot import layouts

# Data set: rows, field. A label is a text or a list of texts; the tool itself accepts no other.
SUBSETS: dict[str, tuple[int | None, Column]] = {
    "llama-questions": (300, Column("label", ("Answer",), anything)),
    "speech-triavia-qa": (1024, Column("label", ("answer",), anything)),  # spelled so on Hugging Face
    "speech-web-questions": (2032, Column("label", ("answers",), anything)),
    "speech-chatbot-alpaca-eval": (None, Column("prompt", ("instruction",))),
}

BENCHMARKS: tuple[DataSet, ...] = tuple(
    DataSet(
        name=f"ultraeval/{subset}",
        source=f"TwinkStart/{subset} (Hugging Face)",
        expected=rows,
        layouts=(*layouts(subset, "test"), *layouts("", "test")),
        columns=(column,),
    )
    for subset, (rows, column) in SUBSETS.items()
)
