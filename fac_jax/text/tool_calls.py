"""Reads the function calls in a reply while it is generated: the answer to the prompt of `chat.with_tools`."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

OPENING: Final = "<tool_call>"
CLOSING: Final = "</tool_call>"


@dataclasses.dataclass(frozen=True)
class Text:
    """Text outside of calls, as it was written; one stretch of text can arrive in several events."""

    text: str


@dataclasses.dataclass(frozen=True)
class ToolCall:
    """A complete call: name of the function, and argument values by parameter name."""

    name: str
    arguments: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class BadToolCall:
    """A call that cannot be read.

    Attributes:
      text: what stands between the tags, or after the opening tag if the reply ended there.
      reason: what is wrong, in a few words.
    """

    text: str
    reason: str


Event: TypeAlias = Text | ToolCall | BadToolCall


class ToolCallParser:
    """Splits a reply into text and calls.

    Text is given out as soon as it is certain that no opening tag begins in it, and a call when its closing tag
    arrives. How the reply is cut into pieces changes neither the calls nor the joined text. A closing tag that nothing
    opened is text.
    """

    def __init__(self) -> None:
        self._in_call = False
        self._pending = ""  # of a call: all since the opening tag; of text: what may be the beginning of that tag

    def push(self, text: str) -> list[Event]:
        """Takes the next piece of the reply, and returns what became certain with it, in order."""
        self._pending += text
        events: list[Event] = []
        while (tag := CLOSING if self._in_call else OPENING) in self._pending:
            before, _, self._pending = self._pending.partition(tag)
            if self._in_call:
                events.append(_read_call(before))
            elif before:
                events.append(Text(before))
            self._in_call = not self._in_call
        if not self._in_call:
            certain = len(self._pending) - _opening_at_end(self._pending)
            if certain:
                events.append(Text(self._pending[:certain]))
            self._pending = self._pending[certain:]
        return events

    def close(self) -> list[Event]:
        """Ends the reply: returns what was held back. An unfinished call is a `BadToolCall`."""
        in_call, pending = self._in_call, self._pending
        self._in_call, self._pending = False, ""
        if in_call:
            return [BadToolCall(pending, "unfinished")]
        return [Text(pending)] if pending else []


def _opening_at_end(text: str) -> int:
    """Returns how many characters at the end of a text are the beginning of an opening tag."""
    return next(n for n in range(len(OPENING) - 1, -1, -1) if text.endswith(OPENING[:n]))


def _read_call(text: str) -> ToolCall | BadToolCall:
    try:
        call = json.loads(text)
    except ValueError as error:
        return BadToolCall(text, f"not JSON: {error}")
    except RecursionError:
        return BadToolCall(text, "nested too deeply")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return BadToolCall(text, "no object with a name")
    if not isinstance(call.get("arguments"), dict):
        return BadToolCall(text, "the arguments are no object")
    return ToolCall(call["name"], call["arguments"])
