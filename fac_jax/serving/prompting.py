"""How what clients say becomes a prompt: instructions, tools, calls and their outputs as the model knows them."""

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fac_jax.text.chat import with_tools
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tool_calls import CLOSING, OPENING

STEP_S: Final = 0.2  # of speech that goes with one text id

_NAME: Final = re.compile(r'"name"\s*:\s*"([^"\\]{1,64})"')


def system_prompt(
    instructions: str | None, spoken: bool, tools: Sequence[Mapping[str, Any]] = (), must_call: str | None = None
) -> str:
    """Returns the system prompt of a conversation.

    Args:
      instructions: of the client; None or "" for the prompt that the model was trained with.
      spoken: whether the reply is spoken. The prompt of the mode comes before the instructions, which a spoken reply
        has after a space, as the release's persona.
      tools: functions that may be called, in OpenAI's format of chat completions.
      must_call: name of the function that has to be called, "" for any; None leaves it to the model.
    """
    system = SYSTEM_JOINT if spoken else SYSTEM_TEXT
    if instructions and instructions != SYSTEM_JOINT:
        system += f" {instructions.removeprefix(SYSTEM_JOINT).lstrip()}" if spoken else f"\n{instructions}"
    if not tools:
        return system
    system = with_tools(system, [_trained_order(tool) for tool in tools])
    if must_call is None:
        return system
    return (
        f"{system}\nYou must call the function {must_call} now." if must_call else f"{system}\nYou must call one now."
    )


def call_text(name: str, arguments: str) -> str:
    """Returns a call as the model writes it; `arguments` is JSON, or what was taken for it."""
    with contextlib.suppress(ValueError, RecursionError):
        arguments = json.dumps(json.loads(arguments or "{}"), ensure_ascii=False)  # spaces as in training
    return f'{OPENING}\n{{"name": {json.dumps(name)}, "arguments": {arguments}}}\n{CLOSING}'


def call_start(offered: Sequence[Mapping[str, Any]], must_call: str | None) -> str:
    """Returns the text with which a reply that has to call a function begins; "" if the model decides.

    Where several functions are offered, the model picks one of them. The text ends where a token of the model ends.

    Args:
      offered: functions, in the format of chat completions.
      must_call: name of the function, "" for any, None if the model decides.
    """
    if must_call is None or not offered:
        return ""
    name = must_call or (offered[0]["function"]["name"] if len(offered) == 1 else "")
    start = f'{OPENING}\n{{"name":'
    return f'{start} {json.dumps(name)}, "arguments":' if name else start


def output_text(output: str) -> str:
    """Returns what a function gave as the text of a user's turn."""
    return f"<tool_response>\n{output}\n</tool_response>"


def name_in(broken_call: str) -> str:
    """Returns the name in a call that is no valid JSON; "" if none can be seen."""
    found = _NAME.search(broken_call)
    return found[1] if found else ""


def _trained_order(tool: Mapping[str, Any]) -> dict[str, Any]:
    """The tool with the fields and the order that models are trained with."""
    function = tool["function"]
    known = {key: function[key] for key in ("name", "description", "parameters") if function.get(key) is not None}
    return {"type": "function", "function": known}
