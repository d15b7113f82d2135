"""Functions that all importers share: numbered rows of files, typed values of rows, and reasons for rejecting them."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError, one_line, unnamed
from fac_jax.text.prompts import TRANSCRIBE
from fac_jax.types import InputError

T = TypeVar("T")
Numbered: TypeAlias = tuple[int, T]
JsonRow: TypeAlias = dict[str, Any]
BOM = b"\xef\xbb\xbf"
View: TypeAlias = Literal["asr", "tts"]
VIEWS: tuple[View, ...] = get_args(View)


def lines(path: Path) -> Iterator[Numbered[str] | Rejected]:
    """Yields the lines of a text file that are not blank, numbered from 1.

    Raises:
      InputError: the file cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            raw = line.removeprefix(BOM) if number == 1 else line
            if not raw.strip():
                continue
            try:
                yield number, raw.decode("utf-8").strip("\r\n")
            except UnicodeDecodeError as error:
                yield Rejected(
                    Reason.BAD_UTF8, f"byte {error.start + 1} of the line: {error.reason}", str(path), number
                )


def json_rows(path: Path) -> Iterator[Numbered[JsonRow] | Rejected]:
    """Yields the objects of a JSONL file, or of the array in a .json file, numbered from 1.

    Raises:
      InputError: the file cannot be opened, or the array cannot be parsed.
    """
    if path.suffix == ".json":
        yield from _array(path)
        return
    for found in lines(path):
        if isinstance(found, Rejected):
            yield found
            continue
        number, line = found
        try:
            yield number, _object(json.loads(line))
        except (ValueError, RecursionError) as error:
            yield Rejected(Reason.MALFORMED, one_line(str(error)), str(path), number)
        except RejectedError as refused:
            yield Rejected(refused.reason, refused.detail, str(path), number)


def _array(path: Path) -> Iterator[Numbered[JsonRow] | Rejected]:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: not JSON: {one_line(str(error))}; one object a line goes into a .jsonl file"
        ) from None
    if not isinstance(values, list):
        raise InputError(f"{path}: must hold an array of rows, holds a {type(values).__name__}")
    for number, value in enumerate(values, 1):
        try:
            yield number, _object(value)
        except RejectedError as refused:
            yield Rejected(refused.reason, refused.detail, str(path), number)


def _object(value: Any) -> JsonRow:
    if not isinstance(value, dict):
        raise RejectedError(Reason.MALFORMED, f"a row is a JSON object, not a {type(value).__name__}")
    return value


def parsed(
    path: Path, rows: Iterable[Numbered[T] | Rejected], parse: Callable[[T, int], Record]
) -> Iterator[Record | Rejected]:
    """Yields `parse(row, number)` of every row; a `RejectedError` becomes a `Rejected` of `path`.

    That has the id of an object, or the first word of a line.
    """
    for found in rows:
        if isinstance(found, Rejected):
            yield found
            continue
        number, row = found
        try:
            yield parse(row, number)
        except RejectedError as refused:
            name = first_word(row)[0] if isinstance(row, str) else None
            if isinstance(row, dict) and isinstance(row.get("id"), str):
                name = one_line(row["id"])
            yield Rejected(refused.reason, refused.detail, str(path), number, name)


def row_id(row: Mapping[str, Any], path: Path, number: int) -> str:
    """The row's `id`, a string or a whole number, or `unnamed`.

    Raises:
      RejectedError: the id is of another type, or empty.
    """
    value = row.get("id")
    if value is None:
        return unnamed(path, number)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise RejectedError(Reason.WRONG_TYPE, f"id is {_shown(value)}, must be a string that is not empty")
    return str(value)


def string(row: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """A string of a row; None counts as absent.

    Raises:
      RejectedError: the value is missing without a default, or not a string.
    """
    return _of_kind(row, key, default, str, "a string")


def items(row: Mapping[str, Any], key: str, default: list[Any] | None = None) -> list[Any]:
    """A list of a row; raises as `string`."""
    return _of_kind(row, key, default, list, "a list")


def _of_kind(row: Mapping[str, Any], key: str, default: T | None, kind: type[T], words: str) -> T:
    value = row.get(key)
    if value is None and default is not None:
        return default
    if value is None:
        raise RejectedError(Reason.MISSING_KEY, f"key {key!r} is missing")
    if not isinstance(value, kind):
        raise RejectedError(Reason.WRONG_TYPE, f"{key} is {_shown(value)}, must be {words}")
    return value


def section(value: Any, what: str) -> Mapping[str, Any]:
    """An object within a row.

    Raises:
      RejectedError: the value is not an object.
    """
    if not isinstance(value, dict):
        raise RejectedError(Reason.WRONG_TYPE, f"{what} is {_shown(value)}, must be an object")
    return value


def first_word(line: str) -> tuple[str, str]:
    """The first word of a line, and the rest without leading blanks."""
    name, *rest = line.split(maxsplit=1)
    return name, rest[0].strip() if rest else ""


def hertz(row: Mapping[str, Any], key: str) -> int | None:
    """A sampling rate in Hz, from a number or its digits; None if absent.

    Raises:
      RejectedError: the value is not a whole number above 0.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    digits = value if isinstance(value, str) else str(value) if type(value) is int else ""
    if not (digits.isascii() and digits.isdigit() and 0 < len(digits) < 10):
        raise RejectedError(Reason.WRONG_RATE, f"{key} is {_shown(value)}, must be a rate in Hz")
    return int(digits)


def number(row: Mapping[str, Any], key: str) -> float | None:
    """A finite number that is not negative, from a number or its digits; None if absent.

    Raises:
      RejectedError: the value is anything else.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        found = math.nan if isinstance(value, bool) or not isinstance(value, str | int | float) else float(value)
    except (ValueError, OverflowError):
        found = math.nan
    if not 0 <= found < math.inf:
        raise RejectedError(Reason.WRONG_TYPE, f"{key} is {_shown(value)}, must be a number that is not negative")
    return found


def first_key(row: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of the keys that has a value in the row.

    Raises:
      RejectedError: none has.
    """
    known = list(keys)
    found = next((key for key in known if row.get(key) is not None), None)
    if found is None:
        raise RejectedError(Reason.MISSING_KEY, f"no key of {', '.join(known)}")
    return found


def _shown(value: Any) -> str:
    return one_line(repr(value))[:50]


def transcribed(name: str, audio: Audio, text: str, file: str, line: int, view: View = "asr") -> Record:
    """The record of a recording and its transcript: "asr" asks for the transcript, "tts" has it spoken.

    Raises:
      RejectedError: the transcript is empty.
    """
    if not text.strip():
        raise RejectedError(Reason.EMPTY_TEXT, "the transcript is empty")
    if view == "asr":
        messages = (Message("user", TRANSCRIBE, audio), Message("assistant", text))
    else:
        messages = (Message("user", text), Message("assistant", text, audio))
    return Record(name, None, messages, None, file, line)


def split(content: str, placeholder: str) -> tuple[str, str | None]:
    """The words before a placeholder and those after it, without the line break between; None without a placeholder.

    Raises:
      RejectedError: there are several: the chat template allows one audio in a message.
    """
    parts = content.split(placeholder)
    if len(parts) == 1:
        return content, None
    if len(parts) > 2:
        raise RejectedError(
            Reason.LAYOUT, f"a message holds {len(parts) - 1} audios; the chat template has room for one"
        )
    return parts[0], parts[1].removeprefix("\n")


def audio_entries(entries: Iterable[Any], contents: Iterable[str], placeholder: str) -> Iterator[Any]:
    """The audio entries of a row, one for every placeholder in its messages.

    Raises:
      RejectedError: the numbers of placeholders and of entries differ.
    """
    found = list(entries)
    placeholders = sum(content.count(placeholder) for content in contents)
    if placeholders != len(found):
        raise RejectedError(Reason.PLACEHOLDERS, f"{placeholders} audio placeholders but {len(found)} audio entries")
    return iter(found)
