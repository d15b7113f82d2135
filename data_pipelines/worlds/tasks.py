"""Tasks of the toy world: each is one way to turn a row into a conversation."""

import dataclasses
from collections.abc import Iterable
from typing import Literal

from data_pipelines.worlds.schema import Kind, Row
from fac_jax.batching.conversation import Conversation, Learns, Turn
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT, TRANSCRIBE
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Task:
    """One way to look at a row.

    Attributes:
      kinds: kinds of rows that have it.
      user: how the question comes; speech with `instruction` as text beside it.
      assistant: how the answer is given: "speech" with its text beside it; "voice" the same, but the text is not
        learnt; "silence" the text beside silence.
      answer: the row's field that is answered.
      instruction: text beside a spoken question, behind a written one.
    """

    kinds: tuple[Kind, ...]
    user: Literal["text", "speech"]
    assistant: Literal["text", "speech", "voice", "silence"]
    answer: Literal["reply", "question"] = "reply"
    instruction: str = ""


SPOKEN = ("speech", "voice")
LEARNS: dict[str, Learns] = {"speech": "both", "voice": "speech", "silence": "text"}

TASKS: dict[str, Task] = {
    "text_qa": Task(("qa",), "text", "text"),
    "text_statements": Task(("statement",), "text", "text"),
    "text_facts": Task(("fact", "rehearsed_fact"), "text", "text"),
    "text_rehearsed": Task(("rehearsed_fact",), "text", "text"),
    "text_read": Task(("read_aloud",), "text", "text"),
    "text_copy": Task(("qa", "transcribe"), "text", "text", answer="question", instruction=TRANSCRIBE),
    "s2t": Task(("qa",), "speech", "text"),
    "s2s": Task(("qa",), "speech", "speech"),
    "t2s": Task(("read_aloud",), "text", "speech"),
    "t2s_statements": Task(("statement",), "text", "speech"),
    "voice": Task(("read_aloud",), "text", "voice"),
    "voice_statements": Task(("statement",), "text", "voice"),
    "silent_qa": Task(("qa",), "text", "silence"),
    "silent_statements": Task(("statement",), "text", "silence"),
    "t2s_qa": Task(("qa",), "text", "speech"),
    "asr": Task(("qa", "transcribe"), "speech", "text", answer="question", instruction=TRANSCRIBE),
}


def is_spoken(task: str) -> bool:
    """Whether a task's replies are spoken; False for a task that does not exist."""
    return task in TASKS and TASKS[task].assistant in SPOKEN


def has_task(row: Row, task: str) -> bool:
    """Whether a row is of a kind that has the task (one of `TASKS`) and brings the audio it needs."""
    view = TASKS[task]
    heard = view.user != "speech" or row.user_audio is not None
    return row.kind in view.kinds and heard and (view.assistant not in SPOKEN or row.assistant_audio is not None)


def fullest_task(row: Row) -> str:
    """The task that shows most of a row: with its spoken reply, with its spoken question."""

    def spoken(task: str) -> tuple[bool, bool]:
        return TASKS[task].assistant == "speech", TASKS[task].user == "speech"

    return max((task for task in TASKS if has_task(row, task)), key=spoken)


def conversations(rows: Iterable[Row], task: str) -> list[Conversation]:
    """The conversations of a task over those rows whose kind has it and that bring the audio it needs, in their order.

    A text question of a row is asked as text even where its audio exists. Rows without an audio that the task needs
    (the text split under "s2t") are left out; the rest share their arrays with the rows.

    Raises:
      InputError: the task is not known, or no row has it.
    """
    if task not in TASKS:
        raise InputError(f"unknown task {task!r}; known: {', '.join(TASKS)}")
    view = TASKS[task]
    found = [_converse(row, task) for row in rows if has_task(row, task)]
    if not found:
        raise InputError(
            f"no row has the task {task!r}: it needs rows of kind {' or '.join(view.kinds)} with its audio"
        )
    return found


def _converse(row: Row, task: str) -> Conversation:
    view = TASKS[task]
    answer = row.reply if view.answer == "reply" else row.question
    spoken = view.assistant in SPOKEN
    heard = view.user == "speech"
    words = [] if heard else [row.question]
    text = "\n".join([*words, *([view.instruction] if view.instruction else [])])
    user = Turn("user", text, wave=row.user_audio if heard else None)
    wave = row.assistant_audio if spoken else None
    assistant = Turn("assistant", answer, wave=wave, learns=LEARNS.get(view.assistant, "both"))
    system = SYSTEM_TEXT if view.assistant == "text" else SYSTEM_JOINT
    return Conversation(f"{row.id}:{task}", system, (user, assistant))
