"""The unmodified `openai` SDK talks to a server on a port."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from fake_engine import FakeEngine, Word
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from realtime_talk import append, run, silence, speech
from served import KEY, app_of, running
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from fac_jax.serving.talk import TalkRequest

CALL = ["<tool_call>", '{"name": "get_weather", "arguments": {"city": "Paris"}}', "</tool_call>"]


def script(request: TalkRequest, number: int) -> Sequence[Word | str]:
    turn = request.conversation.turns[-1]
    if "<tools>" in request.conversation.system and "<tool_response>" not in turn.text:
        return CALL
    return ["you", " said", " something" if turn.wave is not None else f" {turn.text}"]


@asynccontextmanager
async def connected(engine: FakeEngine) -> AsyncIterator[AsyncRealtimeConnection]:
    with running(app_of(engine, keys=(KEY,))) as server:
        client = openai.AsyncOpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
        async with asyncio.timeout(20), client.realtime.connect(model=engine.model) as connection:
            yield connection


async def until(connection: AsyncRealtimeConnection, kind: str) -> list[Any]:
    events = []
    async for event in connection:
        assert event.type != "error", event
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError(f"no {kind}")


def test_two_turns_an_interruption_and_a_call() -> None:
    async def test() -> None:
        engine = FakeEngine(script)
        async with connected(engine) as connection:
            await until(connection, "session.created")
            await connection.input_audio_buffer.append(audio=append(speech(0.6))["audio"])
            await connection.input_audio_buffer.append(audio=append(silence(0.7))["audio"])
            events = await until(connection, "response.done")
            assert events[-1].response.output[0].content[0].transcript == "you said something"
            audio = [base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta"]
            assert sum(map(len, audio)) == 3 * 9600

            engine.by_hand = True
            content: Any = [{"type": "input_text", "text": "more"}]
            await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
            await connection.response.create()
            await until(connection, "response.created")
            engine.step()
            (delta,) = [
                e for e in await until(connection, "response.output_audio.delta") if e.type.endswith("audio.delta")
            ]
            await connection.input_audio_buffer.append(audio=append(speech(0.9))["audio"])
            events = await until(connection, "response.done")
            assert events[-1].response.status_details.reason == "turn_detected"
            await connection.conversation.item.truncate(item_id=delta.item_id, content_index=0, audio_end_ms=150)
            await until(connection, "conversation.item.truncated")
            engine.by_hand = False
            await connection.input_audio_buffer.append(audio=append(silence(0.7))["audio"])
            await until(connection, "response.done")
            reply = engine.requests[-1].conversation.turns[3].generated
            assert reply is not None and engine.text_of(reply) == "you"

            tool: Any = {"type": "function", "name": "get_weather", "parameters": {"type": "object", "properties": {}}}
            await connection.session.update(
                session={"type": "realtime", "tools": [tool], "output_modalities": ["text"]}
            )
            await connection.response.create()
            (call,) = (await until(connection, "response.done"))[-1].response.output
            assert json.loads(call.arguments) == {"city": "Paris"}
            output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
            await connection.conversation.item.create(item=output)
            await connection.response.create()
            (answer,) = (await until(connection, "response.done"))[-1].response.output
            assert "sunny" in answer.content[0].text

    run(test)


def test_a_wrong_key_and_an_unknown_model_are_refused_before_the_handshake() -> None:
    async def test() -> None:
        with running(app_of(FakeEngine(), keys=(KEY,))) as server:
            base = f"http://127.0.0.1:{server.port}/v1"
            for key, model, status in (("sk-wrong", "fac-fake", 401), (KEY, "gpt-realtime", 404)):
                client = openai.AsyncOpenAI(api_key=key, base_url=base, max_retries=0)
                with pytest.raises(InvalidStatus) as refused:
                    async with client.realtime.connect(model=model):
                        pass
                assert refused.value.response.status_code == status

    run(test)


def test_a_client_secret_opens_one_session_with_its_fields() -> None:
    async def test() -> None:
        with running(app_of(FakeEngine(), keys=(KEY,))) as server:
            base = f"http://127.0.0.1:{server.port}/v1"
            client = openai.AsyncOpenAI(api_key=KEY, base_url=base, max_retries=0)
            secret = await client.realtime.client_secrets.create(
                session={"type": "realtime", "instructions": "Be kind."}
            )
            page = openai.AsyncOpenAI(api_key=secret.value, base_url=base, max_retries=0)
            async with page.realtime.connect(model="fac-fake") as connection:
                (created,) = await until(connection, "session.created")
                assert created.session.instructions == "Be kind."
            with pytest.raises(InvalidStatus):
                async with page.realtime.connect(model="fac-fake"):
                    pass

    run(test)


def test_a_browser_comes_with_subprotocols() -> None:
    async def test() -> None:
        with running(app_of(FakeEngine(), keys=(KEY,))) as server:
            url = f"ws://127.0.0.1:{server.port}/v1/realtime?model=fac-fake"
            offered: Any = ["realtime", f"openai-insecure-api-key.{KEY}"]
            async with connect(url, subprotocols=offered) as socket:
                assert socket.subprotocol == "realtime"
                assert json.loads(await socket.recv())["type"] == "session.created"

    run(test)


def test_a_server_that_stops_closes_with_the_code_of_a_restart() -> None:
    async def test() -> None:
        with running(app_of(FakeEngine(), keys=(KEY,))) as server:
            url = f"ws://127.0.0.1:{server.port}/v1/realtime?model=fac-fake"
            async with connect(url, additional_headers={"authorization": f"Bearer {KEY}"}) as socket:
                await socket.recv()
                server.should_exit = True
                with pytest.raises(ConnectionClosedError) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012

    run(test)
