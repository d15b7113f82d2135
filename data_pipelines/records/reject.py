"""Rejected rows of users' data, the closed set of reasons for it, the file of such rows, and the totals of a file."""

import collections
import contextlib
import dataclasses
import enum
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Final

from data_pipelines.records.record import Record
from fac_jax.audio.mel import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.io import replacing
from fac_jax.types import InputError

MAX_DETAIL: Final = 200  # characters


class Reason(enum.StrEnum):
    """Why a row cannot be trained on; `meaning` describes it in one line."""

    MALFORMED = "malformed", "the row cannot be parsed: no JSON object, no line of the table"
    BAD_UTF8 = "bad_utf8", "the text is not UTF-8"
    MISSING_KEY = "missing_key", "a key or column that the format needs is not there"
    WRONG_TYPE = "wrong_type", "a value is of another kind than the format says"
    DUPLICATE_ID = "duplicate_id", "an earlier row has the same id"
    UNKNOWN_ROLE = "unknown_role", "a message is by nobody the chat template knows"
    ROLE_ORDER = "role_order", "user and assistant do not alternate, from the user's first to the assistant's last word"
    EMPTY_TEXT = "empty_text", "a message says nothing: no text, or a spoken reply without its text"
    PLACEHOLDERS = "placeholders", "audio placeholders and audio entries differ in number"
    LAYOUT = "layout", "audio stands where the chat template cannot put it"
    MISSING_AUDIO = "missing_audio", "an audio file does not exist, or nothing says where it is"
    UNDECODABLE_AUDIO = "undecodable_audio", "an audio cannot be decoded"
    EMPTY_AUDIO = "empty_audio", "an audio is shorter than one speech token (40 ms)"
    NON_FINITE = "non_finite", "an audio holds samples that are no numbers"
    WRONG_RATE = "wrong_rate", "an audio's sampling rate is impossible, or another than the row says"
    BAD_TOKENS = "bad_tokens", "speech tokens cannot be read"
    TOKEN_RANGE = "token_range", "a speech token is outside the codebook"
    TOKEN_LENGTH = "token_length", "speech tokens and audio differ in length"
    TOO_LONG = "too_long", "the conversation does not fit the context"
    UNKNOWN_TASK = "unknown_task", "the preference task is not known"
    UNLIKE_REPLIES = "unlike_replies", "of a pair's replies one is spoken and one is not, or they are the same"
    CALL = "call", "the channels, turns or events of a call do not fit each other"
    WORD_ERRORS = "word_errors", "a recogniser does not hear the words that were to be spoken"

    meaning: str

    def __new__(cls, value: str, meaning: str) -> "Reason":
        reason = str.__new__(cls, value)
        reason._value_, reason.meaning = value, meaning
        return reason


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A row that is rejected.

    Attributes:
      reason: why the row is rejected.
      detail: the value at fault, on one line.
      file: file that holds the row.
      line: line or row number in the file, counted from 1.
      id: id of the row; None if it has none, or if its id cannot be read.
    """

    reason: Reason
    detail: str
    file: str
    line: int
    id: str | None = None


def formatted(bad: Rejected) -> str:
    """Formats a rejected row as one line for people."""
    return f"{one_line(bad.id or f'line {bad.line}')}: {bad.reason}: {bad.reason.meaning} ({bad.detail})"


class RejectedError(Exception):
    """Raised while a row is read or validated; the caller, which knows file and line, turns it into a `Rejected`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = one_line(detail)


def one_line(text: str) -> str:
    """The text on one line, printable and encodable, cut to `MAX_DETAIL` characters."""
    words = " ".join(text.encode("utf-8", "backslashreplace").decode().split())
    return words if len(words) <= MAX_DETAIL else words[: MAX_DETAIL - 2] + ".."


def unnamed(path: Path, number: int) -> str:
    """The id that is given to a row without one: the file's stem and the row's number."""
    return f"{path.stem}:{number}"


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded. Halves of surrogate pairs, which `json` accepts, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclasses.dataclass
class Account:
    """Totals of the rows read so far: good ones, bad ones by reason, and seconds of audio in the good ones."""

    good: int = 0
    bad: collections.Counter[Reason] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0

    def __str__(self) -> str:
        """The totals on one line."""
        return account_line(self.good, dict(sorted(self.bad.items())), self.seconds / 3600)


def account_line(good: int, bad: Mapping[str, int], hours: float) -> str:
    """Numbers of good and bad rows, the bad ones by reason, and hours of audio, on one line."""
    return f"{rows_line(good, bad)}, hours {hours:.3f}"


def rows_line(good: int, bad: Mapping[str, int]) -> str:
    """`account_line` without the hours."""
    rejected = sum(bad.values())
    reasons = ", ".join(f"{reason} {count}" for reason, count in bad.items())
    return f"rows {good + rejected}, good {good}, bad {rejected}{f' ({reasons})' if bad else ''}"


def seconds(record: Record) -> float:
    """Seconds of all audio, counted by waves, or by tokens without a wave."""
    waves = sum(len(audio.wave) for audio in record.audios if audio.wave is not None)
    tokens = sum(len(audio.tokens) for audio in record.audios if audio.tokens is not None and audio.wave is None)
    return waves / RATE + tokens / TOKEN_RATE


def entry(bad: Rejected) -> dict[str, str | int | None]:
    """A rejected row as a line of quarantine.jsonl holds it."""
    return {"id": bad.id, "file": bad.file, "line": bad.line, "reason": bad.reason.value, "detail": bad.detail}


def quarantined(
    rows: Iterable[Record | Rejected], file: str | os.PathLike[str] | None, account: Account
) -> Iterator[Record | Rejected]:
    """Passes rows through, counts them, and writes the bad ones into a file, which appears when all have passed.

    Without a file (JSONL, see `entry`) they are only counted.

    Raises:
      InputError: the file cannot be written.
    """
    with contextlib.nullcontext() if file is None else _lines(Path(file)) as out:
        for row in rows:
            if isinstance(row, Rejected):
                account.bad[row.reason] += 1
                if out is not None:
                    out.write(json.dumps(entry(row), ensure_ascii=False) + "\n")
            else:
                account.good += 1
                account.seconds += seconds(row)
            yield row


@contextlib.contextmanager
def _lines(file: Path) -> Iterator[IO[str]]:
    """A text file to write, which takes its name when the context is left without an exception."""
    with contextlib.ExitStack() as stack:
        try:
            out = stack.enter_context(Path(stack.enter_context(replacing(file))).open("w", encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{file}: cannot be written: {error.strerror}") from None
        yield out
