"""The recorded requests of the `openai` SDK (tests/golden/realtime), sent again: status, type and fields of answers."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from fake_engine import FakeEngine, Word
from openai.types import ErrorObject, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.realtime import ClientSecretCreateResponse
from served import KEY, app_of, base64_of, client_of, file_of

from fac_jax.serving.app import App
from fac_jax.serving.talk import TalkRequest

FOLDER: Final = Path(__file__).parents[2] / "golden" / "realtime"
CALL: Final = ['<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>']


def script(request: TalkRequest, number: int) -> Sequence[Word | str]:
    return CALL if "<tools>" in request.conversation.system else ["fine", " weather"]


def exchanges(name: str) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """The requests of a scenario, each with its answer; None where none was written down."""
    lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    found: list[tuple[dict[str, Any], dict[str, Any] | None]] = []
    for line in lines:
        if line["dir"] == "client":
            found.append((line["http"], None))
        else:
            found[-1] = (found[-1][0], line["http"])
    return found


def renewed(body: Any, audio_id: str) -> Any:
    """A body with audio that holds something (the recorded files have no samples), and with an id of this server."""
    if isinstance(body, list):
        return [renewed(one, audio_id) for one in body]
    if not isinstance(body, dict):
        return body
    if set(body) == {"id"}:
        return {"id": audio_id}
    if "format" in body and "data" in body:
        return body | {"data": base64_of(file_of())}
    return {key: renewed(value, audio_id) for key, value in body.items()}


async def sent(
    client: httpx.AsyncClient, app: App, asked: dict[str, Any], status: int, audio_id: str
) -> httpx.Response:
    body = renewed(asked["json"], audio_id)
    headers = {name: value for name, value in asked["headers"].items() if name.startswith(("x-", "acc", "user"))}
    key = "sk-wrong" if status == 401 else KEY
    with contextlib.ExitStack() as busy:
        if body and body.get("model") == "busy":  # the recorded server's way to be full for once
            body["model"] = app.server.engine.model
            if status == 429:
                for _ in range(app.server.config.limits.sessions_per_key):
                    busy.enter_context(app.gate.session("key 1"))
        return await client.request(
            asked["method"], asked["path"], json=body, headers=headers | {"authorization": f"Bearer {key}"}
        )


def check(asked: dict[str, Any], answer: httpx.Response) -> str:
    """Reads an answer as the SDK does, but strictly; returns the id of its audio."""
    if answer.status_code != 200:
        assert ErrorObject.model_validate(answer.json()["error"], strict=True).message
        return ""
    if asked["path"].endswith("/client_secrets"):
        ClientSecretCreateResponse.model_validate(answer.json())
    elif "/models" in asked["path"]:
        answers = answer.json().get("data", [answer.json()])
        assert [Model.model_validate(one, strict=True).id for one in answers] == ["fac-dummy"]
    elif asked["json"].get("stream"):
        *events, last = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
        assert last == "[DONE]" and events
        chunks = [ChatCompletionChunk.model_validate_json(event, strict=True) for event in events]
        assert (chunks[-1].usage is not None) == bool(asked["json"].get("stream_options"))
    else:
        message = ChatCompletion.model_validate(answer.json(), strict=True).choices[0].message
        assert message.content or message.audio or message.tool_calls
        return message.audio.id if message.audio else ""
    return ""


@pytest.mark.parametrize("name", ["chat_text_and_audio", "chat_stream_audio", "chat_tools_models_errors"])
def test_recorded_requests(name: str) -> None:
    async def replay() -> None:
        engine = FakeEngine(script)
        engine.model = "fac-dummy"
        app = app_of(engine, keys=(KEY,))
        audio_id = ""
        async with client_of(app) as client:
            for asked, recorded in exchanges(name):
                wanted = recorded or {"status": 401, "headers": {}}  # a wrong key, whose answer was not written down
                answer = await sent(client, app, asked, wanted["status"], audio_id)
                assert answer.status_code == wanted["status"], answer.text
                for header, value in wanted["headers"].items():
                    assert answer.headers[header] == value
                audio_id = check(asked, answer) or audio_id

    asyncio.run(replay())
