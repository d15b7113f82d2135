"""Rejected rows of users' data, and the closed set of reasons for it."""

import dataclasses
import enum
from pathlib import Path
from typing import Final

MAX_DETAIL: Final = 200  # characters


class Reason(enum.StrEnum):
    """Why a row cannot be trained on; `meaning` describes it in one line."""

    MALFORMED = "malformed"
    BAD_UTF8 = "bad_utf8"
    MISSING_KEY = "missing_key"
    WRONG_TYPE = "wrong_type"
    DUPLICATE_ID = "duplicate_id"
    UNKNOWN_ROLE = "unknown_role"
    ROLE_ORDER = "role_order"
    EMPTY_TEXT = "empty_text"
    PLACEHOLDERS = "placeholders"
    LAYOUT = "layout"
    MISSING_AUDIO = "missing_audio"
    UNDECODABLE_AUDIO = "undecodable_audio"
    EMPTY_AUDIO = "empty_audio"
    NON_FINITE = "non_finite"
    WRONG_RATE = "wrong_rate"
    BAD_TOKENS = "bad_tokens"
    TOKEN_RANGE = "token_range"
    TOKEN_LENGTH = "token_length"
    TOO_LONG = "too_long"
    UNKNOWN_TASK = "unknown_task"
    UNLIKE_REPLIES = "unlike_replies"
    WORD_ERRORS = "word_errors"

    @property
    def meaning(self) -> str:
        """A description of the reason on one line."""
        return _MEANINGS[self]


_MEANINGS: Final[dict[Reason, str]] = {
    Reason.MALFORMED: "the row cannot be parsed: no JSON object, no line of the table",
    Reason.BAD_UTF8: "the text is not UTF-8",
    Reason.MISSING_KEY: "a key or column that the format needs is not there",
    Reason.WRONG_TYPE: "a value is of another kind than the format says",
    Reason.DUPLICATE_ID: "an earlier row has the same id",
    Reason.UNKNOWN_ROLE: "a message is by nobody the chat template knows",
    Reason.ROLE_ORDER: "user and assistant do not alternate, from the user's first to the assistant's last word",
    Reason.EMPTY_TEXT: "a message says nothing: no text, or a spoken reply without its text",
    Reason.PLACEHOLDERS: "audio placeholders and audio entries differ in number",
    Reason.LAYOUT: "audio stands where the chat template cannot put it",
    Reason.MISSING_AUDIO: "an audio file does not exist, or nothing says where it is",
    Reason.UNDECODABLE_AUDIO: "an audio cannot be decoded",
    Reason.EMPTY_AUDIO: "an audio is shorter than one speech token (40 ms)",
    Reason.NON_FINITE: "an audio holds samples that are no numbers",
    Reason.WRONG_RATE: "an audio's sampling rate is impossible, or another than the row says",
    Reason.BAD_TOKENS: "speech tokens cannot be read",
    Reason.TOKEN_RANGE: "a speech token is outside the codebook",
    Reason.TOKEN_LENGTH: "speech tokens and audio differ in length",
    Reason.TOO_LONG: "the conversation does not fit the context",
    Reason.UNKNOWN_TASK: "the preference task is not known",
    Reason.UNLIKE_REPLIES: "of a pair's replies one is spoken and one is not, or they are the same",
    Reason.WORD_ERRORS: "a recogniser does not hear the words that were to be spoken",
}


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
