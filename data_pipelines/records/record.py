"""The schema of all rows, which every importer yields, and its conversion to conversations (docs/data.md)."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import numpy as np

from data_pipelines.records.timing import Timing
from fac_jax.batching.conversation import Conversation, Learns, Turn
from fac_jax.batching.pairs import Pair
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT

SCHEMA_VERSION: Final = "1.2"


@dataclasses.dataclass(frozen=True, eq=False)
class Audio:
    """One audio; at least one of `data`, `path`, `wave` and `tokens` is set.

    Attributes:
      data: bytes of an audio file.
      path: path of an audio file that can be opened.
      named: the path as the row writes it; "" if it names none.
      wave: decoded float32 `[N]` at 16 kHz, mono.
      rate: sampling rate in Hz that the row states; None if it states none.
      tokens: int32 `[T]` ids of the codec at 25 Hz, without the delay before a reply.
      slots: 25 Hz tokens that the row reserves for the audio (`<|audio_pad|>`); None if it reserves none.
      start: start in seconds of the part of a longer file.
      end: end in seconds of that part; None for the end of the file.
      transcript: spoken words, for reference.
      channel: number of the channel of the file, from 0; None for the mean of all.
    """

    data: bytes | None = None
    path: str | None = None
    named: str = ""
    wave: np.ndarray | None = None
    rate: int | None = None
    tokens: np.ndarray | None = None
    slots: int | None = None
    start: float = 0.0
    end: float | None = None
    transcript: str = ""
    channel: int | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Message:
    """One turn of one side.

    Attributes:
      role: "user" or "assistant"; validation rejects other values.
      text: the user's words, or those after the user's audio; the words of a reply, spoken or not.
      audio: audio of the turn; None for text only.
      lead: the user's words before the audio.
      learns: streams of a reply that are learnt: "both"; "speech", without its text; or "text", over silence, of a
        reply without audio in speech mode.
    """

    role: str
    text: str = ""
    audio: Audio | None = None
    lead: str = ""
    learns: Learns = "both"


@dataclasses.dataclass(frozen=True, eq=False)
class Preference:
    """A better and a worse reply to a record's messages, for one of `fac_jax.types.PREFERENCE_TASKS`."""

    task: str
    chosen: Message
    rejected: Message


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """A row of a user's data.

    Attributes:
      id: id, unique in a data set.
      system: system prompt; None lets `prompt_of` choose it.
      messages: alternating messages of user and assistant; the last is the assistant's, or the user's if `preference`
        holds the replies. Those of a call are the user's whole channel, and all that the assistant says.
      preference: replies of a preference pair; None for other rows.
      file: file that holds the row.
      line: line or row number in the file, counted from 1.
      original: JSON of a release row that `importers.release.export` cannot write from the other fields.
      timing: clock of a call; None for other rows.
    """

    id: str
    system: str | None
    messages: tuple[Message, ...]
    preference: Preference | None
    file: str
    line: int
    original: str | None = None
    timing: Timing | None = None

    @property
    def replies(self) -> tuple[Message, ...]:
        """The chosen and the rejected reply of a pair; empty for other rows."""
        return () if self.preference is None else (self.preference.chosen, self.preference.rejected)

    @property
    def audios(self) -> tuple[Audio, ...]:
        """The audios of messages and replies, in order."""
        return tuple(message.audio for message in (*self.messages, *self.replies) if message.audio is not None)


def with_messages(record: Record, change: Callable[[Message], Message]) -> Record:
    """The record with `change` applied to every message and reply, in order."""
    messages, preference = tuple(map(change, record.messages)), record.preference
    if preference is not None:
        chosen, rejected = change(preference.chosen), change(preference.rejected)
        preference = dataclasses.replace(preference, chosen=chosen, rejected=rejected)
    return dataclasses.replace(record, messages=messages, preference=preference)


Example: TypeAlias = Conversation | Pair


def prompt_of(record: Record, spoken: bool) -> str:
    """The row's system prompt, or the default prompt of its mode."""
    if record.system is not None:
        return record.system
    return SYSTEM_JOINT if spoken else SYSTEM_TEXT


def to_conversation(record: Record, reply: Message | None = None) -> Conversation:
    """Converts a checked record with decoded audio (`audio.with_waves`), and a reply to it, to a conversation."""
    messages = record.messages if reply is None else (*record.messages, reply)
    spoken = any(m.role == "assistant" and (m.audio is not None or m.learns == "text") for m in messages)
    return Conversation(record.id, prompt_of(record, spoken), tuple(map(_turn, messages)))


def to_pair(record: Record) -> Pair:
    """Converts a checked record with a preference to a pair of conversations.

    Raises:
      ValueError: the record has no preference.
    """
    if record.preference is None:
        raise ValueError(f"row {record.id} has no chosen and rejected reply")
    chosen, rejected = (to_conversation(record, reply) for reply in record.replies)
    return Pair(
        record.id,
        record.preference.task,
        dataclasses.replace(chosen, id=f"{record.id}:chosen"),
        dataclasses.replace(rejected, id=f"{record.id}:rejected"),
    )


def to_example(record: Record) -> Example:
    """Converts a checked record: `to_pair` if it has a preference, otherwise `to_conversation`."""
    return to_conversation(record) if record.preference is None else to_pair(record)


def sides(record: Record) -> list[Conversation]:
    """Converts a checked record to its conversation, or to those with the chosen and with the rejected reply."""
    return [to_conversation(record, reply) for reply in record.replies or (None,)]


def _turn(message: Message) -> Turn:
    audio = message.audio
    heard: dict[str, Any] = {} if audio is None else {"wave": audio.wave, "speech": audio.tokens, "lead": message.lead}
    role: Any = message.role  # the roles were checked
    return Turn(role, message.text, learns=message.learns, **heard)
