"""Requests with one part replaced by anything: they are answered or refused, and nothing breaks."""

import asyncio
import json
from typing import Any

import pytest
from fake_engine import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st
from served import STEADY, app_of, audio_part, base64_of, client_of, file_of

GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": FakeEngine.model,
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, audio_part(file_of(0.05)), audio_part(b"RIFF")],
            },
            {"role": "assistant", "content": None, "audio": {"id": "audio_1"}},
            {
                "role": "assistant",
                "content": "a",
                "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "1", "content": "21"},
        ],
        "modalities": ["text", "audio"],
        "audio": {"voice": "default", "format": "wav"},
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"a": {}}}}],
        "tool_choice": "auto",
        "stop": ["x"],
        "speech": {"temperature": 0.5},
        "stream_options": {"include_usage": True},
        "stream": False,
    },
    "/v1/realtime/client_secrets": {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {
            "type": "realtime",
            "instructions": "a",
            "audio": {"input": {"turn_detection": {"type": "server_vad"}}, "output": {"voice": "default"}},
            "tools": [{"type": "function", "name": "f", "parameters": {}}],
            "tool_choice": {"type": "function", "name": "f"},
        },
    },
}
ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["", base64_of(file_of(0.01))]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found += places(value[key], (*path, key))
    return found


def replaced(body: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = body.copy()
    copy[path[0]] = replaced(body[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("path", GOOD)
@settings(STEADY, max_examples=60)
@given(data=st.data())
def test_one_part_is_anything(path: str, data: st.DataObject) -> None:
    good = GOOD[path]
    body = good
    for _ in range(data.draw(st.integers(1, 2))):
        body = replaced(body, data.draw(st.sampled_from(places(body))), data.draw(ANYTHING))

    async def ask() -> None:
        async with client_of(app_of()) as client:
            answer = await client.post(path, content=json.dumps(body))
        assert answer.status_code in (200, 400, 404), answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}

    asyncio.run(ask())
