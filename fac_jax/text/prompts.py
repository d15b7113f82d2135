"""The fixed texts of the chat template (docs/model.md, section 8)."""

from typing import Literal

Role = Literal["user", "assistant"]

SYSTEM_TEXT: str = "You are asked to generate text tokens."
SYSTEM_JOINT: str = "You are asked to generate both text and speech tokens at the same time."
SYSTEM_DUPLEX: str = "You are in a full-duplex conversation."
GREET: str = "Greet the user first."
"""Follows `SYSTEM_DUPLEX` in a call that the assistant begins."""

TEMPLATE_TEXTS: tuple[str, ...] = (f"system\n{SYSTEM_TEXT}", f"system\n{SYSTEM_JOINT}", "user\n", "assistant\n")
"""Texts that the template writes around every conversation; a tokenizer is trained to encode them with few ids."""

TOOLS_BLOCK: str = """
# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
{tools}
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{{"name": <function-name>, "arguments": <args-json-object>}}
</tool_call>"""
"""The tools block of Qwen (Hermes) after a system prompt; the released model puts a single line break before it."""

TRANSCRIBE = "write down what you hear"
