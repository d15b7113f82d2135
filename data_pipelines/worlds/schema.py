"""The rows of the toy world: the plan of a row before it is spoken, and the row as it is read back."""

import dataclasses
from typing import Literal, TypeAlias

import numpy as np

from data_pipelines.worlds.espeak import Voice

Kind: TypeAlias = Literal["qa", "read_aloud", "read_sum", "transcribe", "statement", "fact", "rehearsed_fact"]
SPLITS: tuple[str, ...] = ("text", "train", "dev", "test")
PAIR_SPLITS: dict[str, str] = {"train": "pairs_train", "test": "pairs_test"}  # stored splits of the pairs


@dataclasses.dataclass(frozen=True)
class RowSpec:
    """The plan of a row; the id is unique in the data set, and `tasks.TASKS` says what is trained on a kind.

    A question or a reply that is only text has None as its voice.
    """

    id: str
    kind: Kind
    question: str
    reply: str
    user_voice: Voice | None = None
    assistant_voice: Voice | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A row as it is read back, a `RowSpec` with audio float32 `[N]` at 16 kHz, None where nothing is spoken."""

    id: str
    kind: Kind
    question: str
    reply: str
    user_audio: np.ndarray | None
    assistant_audio: np.ndarray | None
    voice: str


@dataclasses.dataclass(frozen=True)
class PairRow:
    """A `PairSpec` as it is read back, with audio float32 `[N]` at 16 kHz, None for a text reply."""

    id: str
    task: str
    question: str
    instruction: str
    chosen: str
    rejected: str
    user_audio: np.ndarray
    chosen_audio: np.ndarray | None
    rejected_audio: np.ndarray | None
    voice: str
    snr_db: float | None
