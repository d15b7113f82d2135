"""Rows of chats from other trainers.

LLaMA-Factory's have `conversations` or `messages`, with `audios` and, for a pair, `chosen` and `rejected`. TRL's have
`prompt`, `chosen` and `rejected`, as strings or as lists of messages.
"""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from data_pipelines.importers.rows import (
    JsonRow,
    audio_entries,
    first_key,
    items,
    json_rows,
    parsed,
    row_id,
    section,
    split,
    string,
)
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Message, Preference, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError

PLACEHOLDER: Final = "<audio>"
ROLES: Final[Mapping[str, str]] = {"human": "user", "gpt": "assistant"}
TASK: Final = "instruction"  # of a pair that names none


def read(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the rows of a file in ShareGPT's form (`from`, `value`) or OpenAI's (`role`, `content`).

    A pair without `task` has the task "instruction"; raises as `json_rows`.
    """
    return parsed(path, json_rows(path), lambda row, number: _record(row, path, number, root))


def _record(row: JsonRow, path: Path, number: int, root: Path) -> Record:
    raw = [said(message) for message in items(row, first_key(row, ("conversations", "messages")))]
    audios = audio_entries(items(row, "audios", []), (content for _, content in raw), PLACEHOLDER)
    system = string(row, "system", "") or None
    if raw and raw[0][0] == "system":
        system, raw = raw[0][1], raw[1:]
    messages = tuple(_message(role, content, audios, root) for role, content in raw)
    preference = None
    if "chosen" in row or "rejected" in row:
        chosen, rejected = (Message(*said(row.get(side), side)) for side in ("chosen", "rejected"))
        preference = Preference(string(row, "task", TASK), chosen, rejected)
    return Record(row_id(row, path, number), system, messages, preference, str(path), number)


def said(value: Any, what: str = "a message") -> tuple[str, str]:
    """Role and content of a message in either form; a string is a message of the assistant.

    Raises:
      RejectedError: the message is anything else.
    """
    if isinstance(value, str):
        return "assistant", value
    if value is None:
        raise RejectedError(Reason.MISSING_KEY, f"key {what!r} is missing")
    message = section(value, what)
    role = string(message, first_key(message, ("from", "role")))
    return ROLES.get(role, role), string(message, first_key(message, ("value", "content")))


def _message(role: str, content: str, audios: Iterator[Any], root: Path) -> Message:
    lead, text = split(content, PLACEHOLDER)
    if text is None:
        return Message(role, content)
    if role == "assistant":
        raise RejectedError(Reason.LAYOUT, "a reply of this format cannot be spoken")
    named = next(audios)
    if not isinstance(named, str):
        raise RejectedError(Reason.WRONG_TYPE, "audios must be paths")
    return Message(role, text, Audio(path=joined(root, named) if named else None, named=named), lead)


def read_trl(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the pairs of a file, without audio. A missing prompt is the common beginning of both replies.

    A pair without `task` has the task "instruction"; `root` is not used; raises as `json_rows`.
    """
    return parsed(path, json_rows(path), lambda row, number: _trl_record(row, path, number))


def _trl_record(row: JsonRow, path: Path, number: int) -> Record:
    chosen, rejected = (_said(row.get(side), "assistant", side) for side in ("chosen", "rejected"))
    prompt = _said(row["prompt"], "user", "prompt") if row.get("prompt") is not None else []
    shared = len(list(itertools.takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))))
    shared = min(shared, len(chosen) - 1, len(rejected) - 1)
    if not prompt and not shared:
        raise RejectedError(Reason.MISSING_KEY, "key 'prompt' is missing, and the replies do not begin with one")
    if prompt and shared and chosen[:shared] != prompt:
        raise RejectedError(Reason.ROLE_ORDER, "the replies begin with other messages than the prompt")
    prompt, chosen, rejected = prompt or chosen[:shared], chosen[shared:], rejected[shared:]
    if len(chosen) != 1 or len(rejected) != 1:
        raise RejectedError(
            Reason.ROLE_ORDER, f"replies of {len(chosen)} and {len(rejected)} messages, must be one each"
        )
    system = None
    if prompt[0][0] == "system":
        system, prompt = prompt[0][1], prompt[1:]
    preference = Preference(string(row, "task", TASK), Message(*chosen[0]), Message(*rejected[0]))
    messages = tuple(Message(*message) for message in prompt)
    return Record(row_id(row, path, number), system, messages, preference, str(path), number)


def _said(value: Any, role: str, what: str) -> list[tuple[str, str]]:
    """Roles and contents of a string or of a list of messages."""
    if isinstance(value, str):
        return [(role, value)]
    if value is None:
        raise RejectedError(Reason.MISSING_KEY, f"key {what!r} is missing")
    if not isinstance(value, list) or not value:
        raise RejectedError(Reason.WRONG_TYPE, f"{what} must be a string or a list of messages")
    return [said(message, what) for message in value]
