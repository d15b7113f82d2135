"""TRL's preference rows: `prompt`, `chosen` and `rejected`, as strings or as lists of messages."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipelines.importers.llama_factory import TASK, said
from data_pipelines.importers.rows import JsonRow, json_rows, parsed, row_id, string
from data_pipelines.records.record import Message, Preference, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError


def read(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the pairs of a file, without audio. A missing prompt is the common beginning of both replies.

    A pair without `task` has the task "instruction"; `root` is not used.

    Raises:
      InputError: the file cannot be read.
    """
    return parsed(path, json_rows(path), lambda row, number: _record(row, path, number))


def _record(row: JsonRow, path: Path, number: int) -> Record:
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
