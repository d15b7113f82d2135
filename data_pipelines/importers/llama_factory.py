"""LLaMA-Factory's rows: `conversations` or `messages`, with `audios` and, for a pair, `chosen` and `rejected`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from data_pipelines.importers.messages import Entries, split
from data_pipelines.importers.rows import JsonRow, first_key, items, json_rows, parsed, row_id, section, string
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Message, Preference, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError

PLACEHOLDER: Final = "<audio>"
ROLES: Final[Mapping[str, str]] = {"human": "user", "gpt": "assistant"}
TASK: Final = "instruction"  # of a pair that names none


def read(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the rows of a file in ShareGPT's form (`from`, `value`) or OpenAI's (`role`, `content`).

    A pair without `task` has the task "instruction".

    Raises:
      InputError: the file cannot be read.
    """
    return parsed(path, json_rows(path), lambda row, number: _record(row, path, number, root))


def _record(row: JsonRow, path: Path, number: int, root: Path) -> Record:
    raw = [said(message) for message in items(row, first_key(row, ("conversations", "messages")))]
    audios = Entries(items(row, "audios", []), (content for _, content in raw), PLACEHOLDER)
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


def _message(role: str, content: str, audios: Entries, root: Path) -> Message:
    lead, text = split(content, PLACEHOLDER)
    if text is None:
        return Message(role, content)
    if role == "assistant":
        raise RejectedError(Reason.LAYOUT, "a reply of this format cannot be spoken")
    named = audios.take()
    if not isinstance(named, str):
        raise RejectedError(Reason.WRONG_TYPE, "audios must be paths")
    return Message(role, text, Audio(path=joined(root, named) if named else None, named=named), lead)
