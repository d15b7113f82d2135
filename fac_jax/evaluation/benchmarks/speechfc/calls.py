"""Reads the function calls in a reply as the official scorer reads them, without the grammar of a parser."""

import dataclasses
import json
import re
from collections.abc import Hashable
from typing import Any, Final

_BLOCK: Final = re.compile(r"<tool_call>\s*(\{.*?\})\s*</tool_call>", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Call:
    """One call in a reply.

    Attributes:
      name: name of the function; whatever JSON value the model wrote there.
      arguments: argument values by parameter name; in a malformed call any other JSON value.
    """

    name: Any
    arguments: Any


def read_calls(reply: str) -> tuple[Call, ...] | None:
    """Returns the calls of a reply in order, or None if one of them has no name or no arguments.

    A block whose JSON cannot be read is left out. Arguments that are a list of one object count as that object.
    """
    calls = []
    for block in _BLOCK.findall(reply):
        try:
            # Quirk of the official reader: a written-out line break, a backslash and an n, becomes a blank.
            call = json.loads(block.replace("\\n", " "))
        except (ValueError, RecursionError):
            continue
        if "name" not in call or "arguments" not in call:
            return None
        name, arguments = call["name"], call["arguments"]
        if isinstance(arguments, list) and len(arguments) == 1:
            arguments = arguments[0]
        if not isinstance(name, Hashable):
            return None
        calls.append(Call(name, arguments))
    return tuple(calls)
