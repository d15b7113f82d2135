"""Validation of rows: what cannot be trained on is rejected with its reason, what looks wrong gets a warning."""

import dataclasses
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from data_pipelines.records.audio import with_waves
from data_pipelines.records.call import call_faults, call_positions
from data_pipelines.records.record import Audio, Message, Record, sides
from data_pipelines.records.reject import Reason, Rejected, RejectedError, is_utf8, unnamed
from data_pipelines.records.timing import Timing
from fac_jax.audio.mel import RATE
from fac_jax.audio.remarks import faults
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.grid import positions
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.text.chat import TextIds
from fac_jax.types import PREFERENCE_TASKS

ROLES: Final = ("user", "assistant")
TOLERANCE: Final = 2  # tokens by which an audio and its tokens may differ: codecs pad or drop the last frames
S3_UNITS: Final = 6561  # ids of the release's codec
CHARACTERS_A_SECOND: Final = (1.0, 40.0)  # slow and fast speech of any script


class EstimatedText:
    """An estimate in place of a tokenizer: one token for four bytes of UTF-8, about the rate of Qwen's."""

    def encode(self, text: str) -> list[int]:
        """Zeros, as many as the estimated number of ids."""
        return [0] * math.ceil(len(text.encode()) / 4)

    def token_id(self, token: str) -> int:
        """Always 0."""
        return 0


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits of the model to train: LLM positions of a conversation, ids of the codec, grid and tokenizer."""

    context: int = 2048
    units: int = S3_UNITS
    group_size: int = 5
    delay_groups: int = 2
    tokenizer: TextIds = dataclasses.field(default_factory=EstimatedText)

    def longest(self, sides: Iterable[Conversation]) -> int:
        """The LLM positions of the longest of some conversations."""
        return max(positions(side, self.tokenizer, self.group_size, self.delay_groups) for side in sides)

    def positions_of(self, record: Record) -> int:
        """The LLM positions of a checked record, with the longer reply of a pair."""
        if record.timing is not None:
            return call_positions(record, record.timing, self.tokenizer)
        return self.longest(sides(record))


def validate(rows: Iterable[Record | Rejected], limits: Limits) -> Iterator[Record | Rejected]:
    """Yields rows in order: good rows with decoded audio, and rejections of the others.

    The first good row of those with the same id is kept.
    """
    seen: set[str] = set()
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        try:
            if row.id in seen:
                raise RejectedError(Reason.DUPLICATE_ID, f"id {row.id}")
            yield checked(row, limits)
            seen.add(row.id)
        except RejectedError as refused:
            brought = is_utf8(row.id) and row.id != unnamed(Path(row.file), row.line)
            name = row.id if brought else None
            yield Rejected(refused.reason, refused.detail, row.file, row.line, name)


def checked(record: Record, limits: Limits) -> Record:
    """Returns a valid record with the wave of every audio.

    Raises:
      RejectedError: the record cannot be trained on. Importers check the remaining reasons, `validate` duplicates.
    """
    _check_texts(record)
    if record.timing is None:
        _check_roles(record)
    for message in (*record.messages, *record.replies):
        _check_words(message)
    _check_replies(record)
    for audio in record.audios:
        _check_units(audio, limits)
    decoded = with_waves(record)
    for audio in decoded.audios:
        _check_length(audio)
    if decoded.timing is not None:
        _check_call(decoded, decoded.timing, limits.tokenizer)
    longest = limits.positions_of(decoded)
    if longest > limits.context:
        raise RejectedError(Reason.TOO_LONG, f"{longest} LLM positions, the context has {limits.context}")
    return decoded


def _check_texts(record: Record) -> None:
    texts = [record.id, record.system or ""]
    for message in (*record.messages, *record.replies):
        texts += [message.role, message.text, message.lead]
    texts += [word for audio in record.audios for word in (audio.transcript, audio.named)]
    broken = next((text for text in texts if not is_utf8(text)), None)
    if broken is not None:
        raise RejectedError(Reason.BAD_UTF8, f"half a character in {broken[:60]!r}")


def _check_roles(record: Record) -> None:
    roles = [message.role for message in record.messages]
    replies = [reply.role for reply in record.replies]
    unknown = [role for role in (*roles, *replies) if role not in ROLES]
    if unknown:
        raise RejectedError(Reason.UNKNOWN_ROLE, f"role {unknown[0]!r}; known: {', '.join(ROLES)}")
    turns = [*roles, *replies[:1]]
    if len(turns) < 2 or len(turns) % 2 or turns != list(ROLES) * (len(turns) // 2):
        raise RejectedError(Reason.ROLE_ORDER, f"the roles are {', '.join(turns) or 'none'}")
    if any(role != "assistant" for role in replies):
        raise RejectedError(Reason.ROLE_ORDER, f"the replies are by {' and '.join(replies)}")


def _check_words(message: Message) -> None:
    silent = message.audio is None and not message.lead.strip()
    if (silent or message.role == "assistant") and not message.text.strip():
        spoken = "spoken reply without text" if message.audio is not None else "message without text"
        raise RejectedError(Reason.EMPTY_TEXT, f"{spoken} by the {message.role}")


def _check_replies(record: Record) -> None:
    if record.preference is None:
        return
    chosen, rejected = record.replies
    if record.preference.task not in PREFERENCE_TASKS:
        known = ", ".join(PREFERENCE_TASKS)
        raise RejectedError(Reason.UNKNOWN_TASK, f"task {record.preference.task!r}; known: {known}")
    if (chosen.audio is None) != (rejected.audio is None):
        raise RejectedError(Reason.UNLIKE_REPLIES, "one reply is spoken, the other is not")
    if chosen.audio is None and chosen.text == rejected.text:
        raise RejectedError(Reason.UNLIKE_REPLIES, "both replies say the same")


def _check_call(record: Record, timing: Timing, tokenizer: TextIds) -> None:
    found = call_faults(record, timing, tokenizer)
    if found:
        raise RejectedError(Reason.CALL, "; ".join(found))


def _check_units(audio: Audio, limits: Limits) -> None:
    if audio.tokens is None:
        return
    if len(audio.tokens) == 0:
        raise RejectedError(Reason.EMPTY_AUDIO, "no speech token")
    outside = audio.tokens[(audio.tokens < 0) | (audio.tokens >= limits.units)]
    if outside.size:
        raise RejectedError(Reason.TOKEN_RANGE, f"speech token {outside[0]}, the codec has 0 to {limits.units - 1}")


def _check_length(audio: Audio) -> None:
    if audio.wave is None:
        return
    named = audio.named or "in the row"
    if not np.isfinite(audio.wave).all():
        raise RejectedError(Reason.NON_FINITE, f"samples that are no numbers: {named}")
    heard = len(audio.wave) * TOKEN_RATE // RATE
    if heard == 0:
        raise RejectedError(Reason.EMPTY_AUDIO, f"{len(audio.wave)} samples at {RATE} Hz: {named}")
    said = audio.slots if audio.tokens is None else len(audio.tokens)
    if said is not None and abs(said - heard) > TOLERANCE:
        raise RejectedError(Reason.TOKEN_LENGTH, f"{said} tokens for an audio of {heard}: {named}")


def lint(record: Record) -> list[tuple[str, str]]:
    """Names and details of what looks wrong in a checked record, whose audio is decoded.

    The names are "silent", "clipped" and "text_rate"; the details name the audio. The user of a call may be silent.
    """
    found = []
    for message in (*record.messages[record.timing is not None :], *record.replies):
        audio = message.audio
        if audio is None or audio.wave is None:
            continue
        name = f"the {message.role}'s audio{f' {audio.named}' if audio.named else ''}"
        found += [(kind, f"{name} {detail}") for kind, detail in faults(audio.wave)]
        found += [("text_rate", f"{name} {detail}") for detail in _text_rate(message, audio)]
    return found


def _text_rate(message: Message, audio: Audio) -> list[str]:
    assert audio.wave is not None
    text = message.text if message.role == "assistant" else audio.transcript
    seconds = len(audio.wave) / RATE
    rate = len(text.strip()) / seconds
    least, most = CHARACTERS_A_SECOND
    if not text.strip() or least <= rate <= most:
        return []
    return [f"has {rate:.1f} characters a second of text ({len(text.strip())} in {seconds:.2f} s)"]
