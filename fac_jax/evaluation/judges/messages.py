"""The messages of a chat that put a request to a judge."""

import base64
from typing import Any

from fac_jax.evaluation.judges.base import Request
from fac_jax.evaluation.judges.templates import Prompt


def messages(prompt: Prompt, request: Request) -> list[dict[str, Any]]:
    """Returns the system prompt if there is one, then the filled prompt with the recordings after it, as base64 WAV."""
    text = prompt.fill(request.fields)
    parts = [
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(one).decode(), "format": "wav"}}
        for one in request.audio
    ]
    content = [{"type": "text", "text": text}, *parts] if parts else text
    system = [] if prompt.system is None else [{"role": "system", "content": prompt.system}]
    return [*system, {"role": "user", "content": content}]
