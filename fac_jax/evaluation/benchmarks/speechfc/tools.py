"""Reads the functions that a row of SpeechFC-Eval offers to the model."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Tool: TypeAlias = Mapping[str, Any]


def read_tools(function: str | Sequence[Tool]) -> Sequence[Tool]:
    """Returns the functions of a row, each with name, description and parameters (a JSON schema).

    Args:
      function: field of the row: a JSON string of OpenAI tools, or the functions themselves as objects.

    Raises:
      KeyError: a tool of the JSON string lacks its name, description or parameters.
      ValueError: the string is not JSON.
    """
    if not isinstance(function, str):
        return function
    described = [tool["function"] for tool in json.loads(function)]
    return [{key: tool[key] for key in ("name", "description", "parameters")} for tool in described]
