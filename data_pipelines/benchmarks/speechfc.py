"""SpeechFCEval: spoken questions that are answered by calls of functions, with the functions in the row."""

from data_pipelines.benchmarks.base import Column, DataSet, Layout, Missing, anything, whole
from data_pipelines.benchmarks.reading import read_text

QUESTION = Column("utterance", default=Missing.ABSENT)  # this and what follows below are not scored
CALLS = (
    Column("function", parse=anything),  # a text that holds JSON, or the objects themselves; so is the next
    Column("ground_truth", parse=anything),
    Column("category", default=Missing.ABSENT),
    Column("index", parse=whole, default=Missing.ABSENT),
)
TIME = Column("time", default="")
# Subset: folder, rows, whether its questions were asked at a stated time.
SUBSETS: dict[str, tuple[str, int, bool]] = {
    "bfcl-single": ("SpeechFC_BFCL_Single", 578, False),
    "bfcl-parallel": ("SpeechFC_BFCL_Parallel", 372, False),
    "smartinteract": ("SpeechFC_SmartInteract", 668, False),
    "ace-single": ("SpeechFC_ACEBench_Single", 208, True),
    "ace-parallel": ("SpeechFC_ACEBench_Parallel", 88, True),
}

BENCHMARKS: tuple[DataSet, ...] = tuple(
    DataSet(
        name=f"speechfc/{subset}",
        source="FunAudioLLM/SpeechFCEval (Hugging Face)",
        expected=rows,
        layouts=tuple(Layout(f"{folder}{end}", read_text) for end in ("/metadata.jsonl", ".jsonl")),
        columns=(QUESTION, *CALLS, *((TIME,) if timed else ())),
        key=("index",),
        replies=("predict",),
    )
    for subset, (folder, rows, timed) in SUBSETS.items()
)
