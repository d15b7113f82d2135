"""The tasks of the toy world's questions, facts and sentences: each is one way to turn a row into a record."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.worlds.schema import Kind, Row
from fac_jax.batching.conversation import Learns
from fac_jax.text.prompts import TRANSCRIBE


@dataclasses.dataclass(frozen=True)
class Task:
    """One way to look at a row.

    Attributes:
      kinds: kinds of rows that have the task.
      user: how the question is asked; "speech" is followed by `instruction` as text.
      assistant: how the answer is given: "speech" together with its text; "voice" the same, but the text is not
        learnt; "silence" its text over silent speech positions.
      answer: the row's field that is the answer.
      instruction: text after the question.
      split: the stored split with the rows to train on.
    """

    kinds: tuple[Kind, ...]
    user: Literal["text", "speech"]
    assistant: Literal["text", "speech", "voice", "silence"]
    answer: Literal["reply", "question"] = "reply"
    instruction: str = ""
    split: Literal["text", "train"] = "train"


SPOKEN = ("speech", "voice")
LEARNS: dict[str, Learns] = {"speech": "both", "voice": "speech", "silence": "text"}

TASKS: dict[str, Task] = {
    "text_qa": Task(("qa",), "text", "text", split="text"),
    "text_statements": Task(("statement",), "text", "text", split="text"),
    "text_facts": Task(("fact", "rehearsed_fact"), "text", "text", split="text"),
    "text_rehearsed": Task(("rehearsed_fact",), "text", "text", split="text"),
    "text_read": Task(("read_aloud",), "text", "text"),
    "text_copy": Task(("qa", "transcribe"), "text", "text", answer="question", instruction=TRANSCRIBE),
    "s2t": Task(("qa",), "speech", "text"),
    "s2s": Task(("qa",), "speech", "speech"),
    "t2s": Task(("read_aloud",), "text", "speech"),
    "t2s_statements": Task(("statement",), "text", "speech"),
    "voice": Task(("read_aloud",), "text", "voice"),
    "voice_sums": Task(("read_sum",), "text", "voice"),
    "voice_statements": Task(("statement",), "text", "voice"),
    "silent_qa": Task(("qa",), "text", "silence", split="text"),
    "silent_statements": Task(("statement",), "text", "silence", split="text"),
    "t2s_qa": Task(("qa",), "text", "speech"),
    "asr": Task(("qa", "transcribe"), "speech", "text", answer="question", instruction=TRANSCRIBE),
}


def task_records(name: str, rows: Iterable[Row]) -> Iterator[Record]:
    """Makes the records of a task, in the order of the rows.

    Rows of other kinds are left out, and so are rows without the audio that the task needs. A text question is asked as
    text even if the row has its audio.
    """
    return (_record(row, name) for row in rows if _has_task(row, TASKS[name]))


def recording(wave: np.ndarray | None, words: str) -> Audio | None:
    """Returns the audio of a wave float32 `[N]` at 16 kHz and of the words that are spoken in it; None for no wave."""
    return None if wave is None else Audio(wave=wave, transcript=words)


def record(name: str, *messages: Message) -> Record:
    """Returns a record whose system prompt follows from its mode; the importer fills in where it was read."""
    return Record(name, None, messages, None, "", 0)


def _has_task(row: Row, task: Task) -> bool:
    heard = task.user != "speech" or row.user_audio is not None
    return row.kind in task.kinds and heard and (task.assistant not in SPOKEN or row.assistant_audio is not None)


def _record(row: Row, name: str) -> Record:
    task = TASKS[name]
    heard = task.user == "speech"
    words = [] if heard else [row.question]
    text = "\n".join([*words, *([task.instruction] if task.instruction else [])])
    answer = row.reply if task.answer == "reply" else row.question
    return record(
        f"{row.id}:{name}",
        Message("user", text, recording(row.user_audio, row.question) if heard else None),
        Message(
            "assistant",
            answer,
            recording(row.assistant_audio, row.reply) if task.assistant in SPOKEN else None,
            learns=LEARNS.get(task.assistant, "both"),
        ),
    )
