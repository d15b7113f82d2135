"""OpenAudioBench: one CSV and a folder of recordings for each subset."""

from data_pipelines.benchmarks.base import Column, DataSet, Layout
from data_pipelines.benchmarks.reading import read_text

# Subset: rows, column of the question, column of the answer. Row numbers that the data set's card does not give are
# the smallest that fit the printed figures.
SUBSETS: dict[str, tuple[int, str, str | None]] = {
    "alpaca_eval": (199, "instruction", None),  # its judge sees no reference
    "llama_questions": (300, "Questions", "Answer"),
    "reasoning_qa": (202, "Prompt", "参考答案"),
    "trivia_qa": (1000, "question", "answer_normalized_aliases"),
    "web_questions": (1000, "question", "answers"),
}


def _columns(question: str, answer: str | None) -> tuple[Column, ...]:
    reference = Column("reference", default="") if answer is None else Column("reference", (answer,))
    return Column("question", (question,)), reference


BENCHMARKS: tuple[DataSet, ...] = tuple(
    DataSet(
        name=f"openaudiobench/{subset}",
        source="baichuan-inc/OpenAudioBench (Hugging Face)",
        expected=rows,
        layouts=tuple(
            Layout(f"{folder}{subset}/{subset}.csv", read_text)
            for folder in ("eval_datas/", "OpenAudioBench/eval_datas/", "")
        ),
        columns=_columns(question, answer),
        key=("audio_filename",),
        audio=("audio_filename",),
    )
    for subset, (rows, question, answer) in SUBSETS.items()
)
