"""The one schema of users' rows: what every importer gives, and what it becomes as a conversation (docs/data.md)."""

import dataclasses
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np

from fac_jax.batching.conversation import Conversation, Learns, Turn
from fac_jax.batching.pairs import Pair
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT

SCHEMA_VERSION: Final = "1.1"


@dataclasses.dataclass(frozen=True, eq=False)
class Audio:
    """What is known of one audio; at least one of `data`, `path`, `wave` and `tokens` is there.

    Attributes:
      data: bytes of an audio file.
      path: of an audio file, as it can be opened here.
      named: the path as the row writes it, "" for none.
      wave: float32 `[N]` at 16 kHz, mono, once it is decoded.
      rate: Hz, as the row says; None where it does not.
      tokens: int32 `[T]` ids of the codec at 25 Hz, without the delay before a reply.
      slots: 25 Hz tokens that the row reserves for the audio (`<|audio_pad|>`); None where it does not say.
      start: first second to be read of a longer file.
      end: second behind the last to be read; None for the file's end.
      transcript: words that are heard, for reference.
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


@dataclasses.dataclass(frozen=True, eq=False)
class Message:
    """What one side says once.

    Attributes:
      role: "user" or "assistant"; what else a row says stands here until it is refused.
      text: the user's words, or those behind the user's audio; a reply's words, also where it is spoken.
      audio: what is heard or spoken, None for text alone.
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
    """A better and a worse reply to a record's messages.

    Attributes:
      task: one of `fac_jax.types.PREFERENCE_TASKS`.
      chosen: the better reply.
      rejected: the worse reply.
    """

    task: str
    chosen: Message
    rejected: Message


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """A row of a user's data.

    Attributes:
      id: unique in a data set.
      system: system prompt; None where the row has none: `prompt_of` chooses it then.
      messages: of user and assistant in turn; the last is the assistant's, or the user's where `preference` goes on.
      preference: the replies of a pair; None for a row to be imitated.
      file: where the row stands.
      line: its line or row there, counted from 1.
      original: JSON of a release row that `importers.release.export` could not write again from the other fields.
    """

    id: str
    system: str | None
    messages: tuple[Message, ...]
    preference: Preference | None
    file: str
    line: int
    original: str | None = None

    @property
    def replies(self) -> tuple[Message, ...]:
        """The chosen and the rejected reply of a pair, else nothing."""
        return () if self.preference is None else (self.preference.chosen, self.preference.rejected)

    @property
    def audios(self) -> tuple[Audio, ...]:
        """Every audio of the messages and of the replies, in their order."""
        return tuple(message.audio for message in (*self.messages, *self.replies) if message.audio is not None)


def with_messages(record: Record, change: Callable[[Message], Message]) -> Record:
    """The record with every message, and every reply of a pair, changed, in their order."""
    messages, preference = tuple(map(change, record.messages)), record.preference
    if preference is not None:
        chosen, rejected = change(preference.chosen), change(preference.rejected)
        preference = dataclasses.replace(preference, chosen=chosen, rejected=rejected)
    return dataclasses.replace(record, messages=messages, preference=preference)


Example: TypeAlias = Conversation | Pair


def prompt_of(record: Record, spoken: bool) -> str:
    """The row's system prompt, or the one that names the mode of a row without."""
    if record.system is not None:
        return record.system
    return SYSTEM_JOINT if spoken else SYSTEM_TEXT


def to_conversation(record: Record, reply: Message | None = None) -> Conversation:
    """What training encodes of a checked record, its audio decoded (`audio_files.with_waves`); a pure function.

    A user's audio is read from its wave where there is one, an assistant's from its tokens.

    Args:
      record: its roles are known ones.
      reply: said after its messages.
    """
    messages = record.messages if reply is None else (*record.messages, reply)
    spoken = any(m.role == "assistant" and (m.audio is not None or m.learns == "text") for m in messages)
    return Conversation(record.id, prompt_of(record, spoken), tuple(map(_turn, messages)))


def to_pair(record: Record) -> Pair:
    """A checked record with a preference as what `pairs.encode_pairs` encodes.

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
    """`to_pair` of a record with a preference, `to_conversation` of another."""
    return to_conversation(record) if record.preference is None else to_pair(record)


def _turn(message: Message) -> Turn:
    audio = message.audio
    if audio is None:
        return Turn(
            message.role,  # pyright: ignore[reportArgumentType]  (the roles were checked)
            message.text,
            learns=message.learns,
        )
    return Turn(
        message.role,  # pyright: ignore[reportArgumentType]
        message.text,
        wave=audio.wave,
        speech=audio.tokens,
        learns=message.learns,
        lead=message.lead,
    )
