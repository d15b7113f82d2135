"""VoiceBench, as Hugging Face has it or as Kimi-Audio-Evalkit converts it."""

from data_pipelines.benchmarks.base import Column, DataSet, Layout, Missing, objects, texts
from data_pipelines.benchmarks.base import anything as key_of_any_kind
from data_pipelines.benchmarks.reading import read_text
from data_pipelines.benchmarks.snapshot import layouts

PROMPT = Column("prompt", ("audio_content",))  # the second name of each is Evalkit's
REFERENCE = Column("reference", ("answer",))
RULES = (
    Column("key", ("index",), key_of_any_kind, default=Missing.ABSENT),
    Column("instruction_id_list", ("instruction",), texts),
    Column("kwargs", ("instruction_kwargs",), objects),
)
# Subset: rows, splits on Hugging Face, columns. All 12 splits of mmsu count, and the American one of sd-qa.
SUBSETS: dict[str, tuple[int, str, tuple[Column, ...]]] = {
    "alpacaeval_full": (636, "test", (PROMPT,)),
    "commoneval": (200, "test", (PROMPT,)),
    "sd-qa": (553, "usa", (PROMPT, REFERENCE)),
    "mmsu": (3074, "*", (PROMPT, REFERENCE)),
    "openbookqa": (455, "test", (PROMPT, REFERENCE)),
    "ifeval": (345, "test", (PROMPT, *RULES)),
    "advbench": (520, "test", (PROMPT,)),
}

BENCHMARKS: tuple[DataSet, ...] = tuple(
    DataSet(
        name=f"voicebench/{subset}",
        source="hlt-lab/voicebench (Hugging Face)",
        expected=rows,
        layouts=(Layout(f"{subset}.jsonl", read_text), *layouts(subset, split)),
        columns=columns,
        key=("index",),
        audio=("audio_path", "file_name"),
        replies=("response",),
    )
    for subset, (rows, split, columns) in SUBSETS.items()
)
