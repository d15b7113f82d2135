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
    """The plan of a row.

    Attributes:
      id: unique in the data set.
      kind: kind of content; `tasks.TASKS` says what is trained on it.
      question: what the user says, spoken if `user_voice` is set.
      reply: what the assistant says, spoken if `assistant_voice` is set.
      user_voice: None for a question that is only text.
      assistant_voice: None for a reply that is only text.
    """

    id: str
    kind: Kind
    question: str
    reply: str
    user_voice: Voice | None = None
    assistant_voice: Voice | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A row as it is read back. Audio is float32 `[N]` at 16 kHz, None when absent.

    Attributes:
      id: unique in the data set.
      kind: kind of content.
      question: the user's words, also where they are spoken.
      reply: the assistant's words, also where they are spoken.
      user_audio: the spoken question.
      assistant_audio: the spoken reply.
      voice: name of the user's voice, "" for a question that is only text.
    """

    id: str
    kind: Kind
    question: str
    reply: str
    user_audio: np.ndarray | None
    assistant_audio: np.ndarray | None
    voice: str


@dataclasses.dataclass(frozen=True)
class PairRow:
    """A spoken question with a better and a worse reply. Audio is float32 `[N]` at 16 kHz, None when absent.

    Attributes:
      id: unique in the data set.
      task: which of `fac_jax.types.PREFERENCE_TASKS`.
      question: the user's words, which are spoken.
      instruction: text after the spoken question, "" for none.
      chosen: the better reply.
      rejected: the worse reply.
      user_audio: the spoken question, with its noise.
      chosen_audio: the better reply; None for a text reply.
      rejected_audio: the worse reply; None for a text reply.
      voice: name of the user's voice.
      snr_db: of the question in decibels; None without noise.
    """

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
