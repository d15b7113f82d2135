"""What is refused, and how: bodies, audio, sizes, clients that go."""

import asyncio
import json
import threading
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine, tone
from served import app_of, audio_part, client_of, file_of

from fac_jax.serving.app import App, make_app
from fac_jax.serving.config import Limits
from fac_jax.serving.web.errors import ApiError
from fac_jax.serving.web.limits import BodyLimit

ASK: dict[str, Any] = {"model": FakeEngine.model, "messages": [{"role": "user", "content": "hi"}]}
HELLO = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
DEEP: Any = json.loads("[" * 40 + "]" * 40)


def post(app: App, body: bytes | dict[str, Any], path: str = "/v1/chat/completions") -> tuple[int, dict[str, Any]]:
    async def send() -> tuple[int, dict[str, Any]]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with client_of(app) as client:
            answer = await client.post(path, content=content)
        return answer.status_code, answer.json()

    return asyncio.run(send())


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b'{"model": ', "invalid_json", None),
        (b"\xff\xfe", "invalid_json", None),
        (b"[]", "invalid_type", None),
        (b"[" * 100_000, "invalid_json", None),
        (b'{"seed": ' + b"9" * 5000 + b"}", "invalid_json", None),
        (b'{"model": "\\ud800"}', "invalid_json", None),
        (b'{"model": "m", "messages": [], "temperature": NaN}', "invalid_value", "messages"),
        ({"messages": [HELLO]}, "missing_required_parameter", "model"),
        (ASK | {"messages": [{"role": "user"}]}, "missing_required_parameter", "messages[0].content"),
        (ASK | {"messages": [{"content": "hi"}]}, "missing_required_parameter", "messages[0]"),
        (ASK | {"messages": [{"role": "wizard", "content": "hi"}]}, "invalid_value", "messages[0]"),
        (ASK | {"messages": [{"role": "user", "content": 3}]}, "invalid_type", "messages[0].content"),
        (ASK | {"messages": [{"role": "user", "content": ""}]}, "invalid_value", "messages[0].content"),
        (ASK | {"messages": [{"role": "assistant", "content": "hi"}]}, "invalid_value", "messages"),
        (ASK | {"messages": [HELLO] * 600}, "invalid_value", "messages"),
        (ASK | {"messages": [{"role": "user", "content": "x" * 40_000}]}, "invalid_value", "messages[0].content"),
        (ASK | {"messages": [{"role": "user", "content": "x " * 3000}]}, "context_length_exceeded", "messages"),
        (ASK | {"messages": [{"role": "user", "content": "x" * 32_000}] * 9}, "context_length_exceeded", "messages"),
        (ASK | {"temperature": -1}, "invalid_value", "temperature"),
        (ASK | {"temperature": "0.5"}, "invalid_type", "temperature"),
        (ASK | {"n": 2}, "invalid_value", "n"),
        (ASK | {"stop": ["a"] * 5}, "invalid_value", "stop"),
        (ASK | {"stop": ""}, "invalid_value", "stop"),
        (
            ASK | {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "invalid_value",
            "tools[0].function.name",
        ),
        (
            ASK | {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": DEEP}}}]},
            "invalid_value",
            "tools[0].function.parameters",
        ),
        (ASK | {"tool_choice": "required"}, "invalid_value", "tool_choice"),
        (
            ASK | {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "invalid_value",
            "tool_choice",
        ),
        (ASK | {"modalities": ["audio"], "audio": {"voice": "alloy"}}, "invalid_value", "audio.voice"),
        (ASK | {"modalities": ["audio"], "audio": {"format": "aac"}}, "invalid_value", "audio.format"),
        (ASK | {"speech": {"repetition_penalty": 0}}, "invalid_value", "speech.repetition_penalty"),
        (
            ASK | user({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}),
            "invalid_value",
            "messages[0].content[0]",
        ),
        (ASK | user(audio_part(form="aiff")), "invalid_value", "messages[0].content[0].input_audio.format"),
    ],
)
def test_a_wrong_body_is_refused(body: bytes | dict[str, Any], code: str, param: str | None) -> None:
    status, answer = post(app_of(), body)
    error = answer["error"]
    assert (status, error["code"], error["param"], error["type"]) == (400, code, param, "invalid_request_error")
    assert isinstance(error["message"], str)


def test_fields_that_are_not_known_are_ignored() -> None:
    status, answer = post(app_of(), ASK | {"store": True, "user": "u", "logit_bias": None, "verbosity": "low"})
    assert status == 200 and answer["choices"][0]["message"]["content"] == "this is reply 1"


@pytest.mark.parametrize(
    "number", ["nothing", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "%00", "a%00b"]
)
def test_no_path_leads_out(number: str) -> None:
    async def ask() -> None:
        async with client_of(app_of()) as client:
            for path in (f"/v1/models/{number}", f"/{number}", f"/page/{number}"):
                answer = await client.get(path)
                assert answer.status_code == 404 and answer.json()["error"]["code"] in ("model_not_found", "not_found")

    asyncio.run(ask())
    audio = {"messages": [HELLO, {"role": "assistant", "audio": {"id": number}}, HELLO]}
    status, answer = post(app_of(), ASK | audio)
    assert (status, answer["error"]["code"]) == (404, "audio_expired")


def test_the_page_is_there_if_wanted() -> None:
    async def ask(page: bool) -> tuple[int, int]:
        server = app_of(keys=("sk-key",)).server
        async with client_of(make_app(server, page=page)) as client:
            return (await client.get("/")).status_code, (await client.get("/page/..%2f..%2fsecurity.py")).status_code

    assert asyncio.run(ask(True)) == (200, 404)
    assert asyncio.run(ask(False)) == (404, 404)


def test_a_method_that_is_not_there() -> None:
    async def ask() -> None:
        async with client_of(app_of()) as client:
            answer = await client.get("/v1/chat/completions")
            assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
            assert answer.json()["error"]["code"] == "method_not_allowed"

    asyncio.run(ask())


def test_a_fault_of_ours_tells_nothing_of_itself() -> None:
    class Broken(FakeEngine):
        def positions(self, conversation: Any) -> int:
            raise RuntimeError("a secret of the server")

    status, answer = post(app_of(Broken()), ASK)
    assert status == 500 and answer["error"]["code"] == "internal_error"
    assert "secret" not in json.dumps(answer)


def test_all_audio_of_a_request_fits_the_context() -> None:
    app = app_of(FakeEngine(context=10))  # 2 s
    status, answer = post(app, ASK | user(audio_part(file_of(1.5)), audio_part(file_of(1.5))))
    assert (status, answer["error"]["code"]) == (400, "audio_too_long")


def test_several_audios_of_a_message_are_turns_of_their_own() -> None:
    engine = FakeEngine()
    parts = [{"type": "text", "text": text} for text in ("one", "two", "three")]
    status, _ = post(app_of(engine), ASK | user(parts[0], audio_part(), parts[1], parts[2], audio_part()))
    assert status == 200
    first, second = engine.requests[0].conversation.turns
    assert (first.lead, first.text, second.lead, second.text) == ("one", "two\nthree", "", "")


class Line:
    """One request by hand: what comes is given, what goes is kept."""

    def __init__(self, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), *(headers or [])],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.coming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.first = 0  # messages that are taken in any case

    async def receive(self) -> dict[str, Any]:
        return await self.coming.get()

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)
        if len(self.sent) > self.first:
            await self.reads.wait()

    def go(self) -> None:
        self.coming.put_nowait({"type": "http.disconnect"})


@pytest.mark.parametrize("stream", [False, True])
def test_the_reply_of_a_client_that_goes_is_cancelled(stream: bool) -> None:
    async def talk() -> None:
        engine = FakeEngine(by_hand=True)
        app = app_of(engine)
        line = Line(json.dumps(ASK | {"stream": stream}).encode())
        answering = asyncio.create_task(app(line.scope, line.receive, line.send))
        while not engine.handles:
            await asyncio.sleep(0)
        engine.step(2)
        for _ in range(20):
            await asyncio.sleep(0)
        assert app.gate.sessions == 1 and not answering.done()
        line.go()
        await answering
        await asyncio.sleep(0)
        assert engine.handles[0].ended == "cancelled" and not app.gate.sessions
        assert bool(stream) == any(b"this" in message.get("body", b"") for message in line.sent)

    asyncio.run(talk())


def test_a_client_that_does_not_read_is_left() -> None:
    async def talk() -> None:
        engine = FakeEngine()
        app = app_of(engine, limits=Limits(send_s=0.01))
        line = Line(json.dumps(ASK | {"stream": True}).encode())
        line.reads.clear()
        line.first = 1  # the head goes out, nothing else
        await app(line.scope, line.receive, line.send)
        assert not app.gate.sessions and line.sent[-1].get("more_body")

    asyncio.run(talk())


def test_a_body_that_does_not_say_its_length_is_counted() -> None:
    async def talk() -> None:
        app = app_of(limits=Limits(body_bytes=1000))
        line = Line(b"", [(b"transfer-encoding", b"chunked")])
        line.coming.get_nowait()
        for _ in range(100):
            line.coming.put_nowait({"type": "http.request", "body": b" " * 300, "more_body": True})
        await app(line.scope, line.receive, line.send)
        assert line.sent[0]["status"] == 413
        assert line.coming.qsize() == 96  # no more was read

    asyncio.run(talk())


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def talk() -> None:
        line = Line(b"")
        line.coming.get_nowait()
        with pytest.raises(ApiError) as error:  # a handler of the application makes the answer of it
            await BodyLimit(lambda scope, receive, send: receive(), 1000, read_s=0.01)(
                line.scope, line.receive, line.send
            )
        assert error.value.status == 408

    asyncio.run(talk())


@pytest.mark.parametrize("length", [b"1001", b"9" * 30, b"-1", b"0x10"])
def test_a_length_that_cannot_be_is_refused_unread(length: bytes) -> None:
    async def talk() -> None:
        line = Line(b"{}", [(b"content-length", length)])
        await app_of(limits=Limits(body_bytes=1000))(line.scope, line.receive, line.send)
        assert line.sent[0]["status"] == 413 and line.coming.qsize() == 1

    asyncio.run(talk())


def test_audio_is_decoded_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds of decoding are two seconds for everybody else, if it is done in the loop."""
    threads = []

    def slow(*args: Any) -> np.ndarray:
        threads.append(threading.current_thread())
        return tone(1.0, 16_000)

    monkeypatch.setattr("fac_jax.serving.web.messages.decode", slow)
    assert post(app_of(), ASK | user(audio_part()))[0] == 200
    assert threads and threads[0] is not threading.main_thread()


def test_openapi_tells_bodies_and_errors() -> None:
    async def ask() -> dict[str, Any]:
        async with client_of(app_of()) as client:
            return (await client.get("/openapi.json")).json()

    described = asyncio.run(ask())
    chat = described["paths"]["/v1/chat/completions"]["post"]
    assert set(chat["responses"]) == {"200", "400", "401", "403", "404", "408", "413", "429", "500", "503"}
    body = chat["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    assert "messages" in described["components"]["schemas"][body.rsplit("/", 1)[1]]["properties"]
