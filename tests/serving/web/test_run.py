"""How the server listens and stops, and what its log holds."""

import asyncio
import io
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from fake_engine import FakeEngine
from frames import client_frame, handshake
from served import KEY, Started, app_of, audio_part, client_of, running, until
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fac_jax.serving import logs, run
from fac_jax.serving.config import Limits
from fac_jax.serving.realtime.socket import realtime
from fac_jax.serving.run import uvicorn_config
from fac_jax.serving.security import Access
from fac_jax.serving.server import Server
from fac_jax.serving.web import sockets
from fac_jax.types import InputError


@pytest.fixture(autouse=True)
def protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """A protocol that gives back what it gets."""

    async def echo(websocket: WebSocket, server: Server, access: Access) -> None:
        await websocket.accept(access.subprotocol)
        while True:
            await websocket.send_text(await websocket.receive_text())

    monkeypatch.setattr(sockets, "realtime", echo)


def opened(server: Started, key: str = "", **settings: Any) -> ClientConnection:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    url = f"ws://127.0.0.1:{server.port}/v1/realtime?model={FakeEngine.model}&word=planted"
    return connect(url, additional_headers=headers, **settings)


def ask(server: Started, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "server.example"])
def test_without_keys_only_this_machine_is_listened_to(host: str) -> None:
    with pytest.raises(InputError, match="give keys"):
        uvicorn_config(app_of(), host)
    assert uvicorn_config(app_of(keys=(KEY,)), host).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_needs_no_key(host: str) -> None:
    assert uvicorn_config(app_of(), host).host == host


@pytest.mark.parametrize("limits", [Limits(message_bytes=1000), Limits()])
def test_a_message_too_big_closes_with_1009(limits: Limits) -> None:
    app, most = app_of(limits=limits), limits.message_bytes
    with running(app) as server, opened(server, max_size=None) as talk:
        talk.send("x" * most)
        assert talk.recv(5) == "x" * most
        # The head of a frame is enough; what is on its way when the server closes would reset the connection.
        talk.socket.sendall(client_frame(b"", length=most + 1))
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
        until(lambda: b'fac_closed_total{code="1009"} 1.0' in app.server.metrics.text())


def test_messages_are_not_compressed() -> None:
    with running(app_of()) as server, opened(server, compression="deflate") as talk:
        assert talk.protocol.extensions == []


def test_a_refusal_is_an_http_answer() -> None:
    with running(app_of(keys=(KEY,))) as server:
        with pytest.raises(InvalidStatus) as refused, opened(server, "sk-wrong"):
            pass
        response = refused.value.response
        assert response.status_code == 401 and json.loads(response.body)["error"]["code"] == "invalid_api_key"
        with opened(server, KEY) as talk:
            talk.send("hello")
            assert talk.recv(5) == "hello"


def test_a_client_that_does_not_answer_pings_is_left() -> None:
    app = app_of()
    with (
        running(app, ws_ping_interval=0.05, ws_ping_timeout=0.05) as server,
        socket.create_connection(("127.0.0.1", server.port)) as mute,
    ):
        mute.sendall(handshake())
        assert mute.recv(12) == b"HTTP/1.1 101"
        assert app.gate.sessions == 1
        until(lambda: app.gate.sessions == 0)


def test_sigterm_drains() -> None:
    app = app_of(FakeEngine(), drain_s=0.3)
    with running(app) as server, opened(server) as talk:
        assert ask(server, "/ready")[0] == 200
        server.handle_exit(signal.SIGTERM, None)
        until(lambda: app.gate.draining)
        status, body = ask(server, "/ready")
        assert status == 503 and "draining" in body
        assert ask(server, "/health")[0] == 200
        with pytest.raises(InvalidStatus) as refused, opened(server):
            pass
        assert refused.value.response.status_code == 503
        talk.send("still there?")
        assert talk.recv(5) == "still there?"
        with pytest.raises(ConnectionClosed) as closed:
            talk.recv(5)
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1012
        until(lambda: server.should_exit)


def test_sigterm_stops_at_once_when_nobody_talks() -> None:
    app = app_of(drain_s=1000.0)
    with running(app) as server:
        server.handle_exit(signal.SIGTERM, None)
        until(lambda: server.should_exit)


def test_ready_and_health_follow_the_engine() -> None:
    async def look() -> None:
        engine = FakeEngine()
        async with client_of(app_of(engine, keys=(KEY,))) as client:  # neither needs a key
            assert [(await client.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
            engine.ready = engine.alive = False
            assert [(await client.get(path)).status_code for path in ("/health", "/ready")] == [503, 503]
            metrics = await client.get("/metrics")
            assert metrics.headers["content-type"].startswith("text/plain") and "fac_slots_used" in metrics.text

    asyncio.run(look())


def test_the_log_holds_no_word_of_anybody(log: io.StringIO) -> None:
    class Broken(FakeEngine):
        def positions(self, conversation: Any) -> int:
            if "fail" in conversation.system:
                raise RuntimeError("planted in an exception")
            return super().positions(conversation)

    key = "sk-planted-key"
    engine = Broken(lambda request, number: ["planted", " answer"])
    with running(app_of(engine, keys=(key,))) as server:
        messages = [{"role": "user", "content": [{"type": "text", "text": "planted question"}, audio_part()]}]
        failing = [{"role": "system", "content": "fail planted"}, *messages]
        for body in (
            {"model": FakeEngine.model, "messages": messages},
            {"model": FakeEngine.model, "messages": messages, "stream": True, "modalities": ["audio"]},
            {"model": FakeEngine.model, "messages": failing},
            {"model": "planted", "messages": messages},
            {"planted": 1},
        ):
            data = json.dumps(body).encode()
            url = f"http://127.0.0.1:{server.port}/v1/chat/completions?planted=1"
            request = urllib.request.Request(url, data, {"authorization": f"Bearer {key}"})
            try:
                urllib.request.urlopen(request).read()
            except urllib.error.HTTPError as error:
                assert error.code in (400, 404, 500)
        with opened(server, key) as talk:
            talk.send("planted message")
            assert talk.recv(5) == "planted message"
        with pytest.raises(InvalidStatus), opened(server, "sk-planted-wrong"):
            pass
    text = log.getvalue()
    lines = [json.loads(line) for line in text.splitlines()]
    assert "planted" not in text and "UklGR" not in text
    assert {line["event"] for line in lines} >= {"http.ended", "socket.ended", "chat.answered"}
    fault = next(line for line in lines if line.get("error") == "RuntimeError")
    assert any("test_run.py" in place for place in fault["places"])
    answered = next(line for line in lines if line["event"] == "chat.answered")
    assert answered["client"] == "key 1" and answered["made"] == 2


def test_the_log_holds_content_where_it_is_wanted(log: io.StringIO) -> None:
    logs.event("something", {"text": "said"}, id="1")
    assert "said" not in log.getvalue()
    logs.set_up(log, log_content=True)
    logs.event("something", {"text": "said"}, id="1")
    assert json.loads(log.getvalue().splitlines()[-1])["text"] == "said"


def test_a_client_that_has_gone_leaves_nothing(log: io.StringIO) -> None:
    app = app_of()
    with running(app) as server:
        with opened(server) as talk:
            talk.socket.close()
        until(lambda: app.gate.sessions == 0)
    assert not [line for line in log.getvalue().splitlines() if json.loads(line)["level"] == "error"]
    assert WebSocketDisconnect.__name__ not in log.getvalue()


def test_a_server_whose_engine_is_over_ends_for_its_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "DEAD_S", 0.3)
    engine = FakeEngine()
    with running(app_of(engine)) as server:
        engine.alive = False
        until(lambda: ask(server, "/health")[0] == 503)
        engine.alive = True  # it only took long
        until(lambda: ask(server, "/health")[0] == 200)
        assert not server.should_exit
        engine.alive = False
        until(lambda: server.should_exit)
        assert server.failed


def test_a_client_that_never_reads_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "realtime", realtime)
    engine = FakeEngine(lambda request, number: ["word"] * (2000 if number == 1 else 5))
    app = app_of(engine, limits=Limits(send_s=0.5, queue_bytes=64 << 20, reply_s=1000.0))
    create = json.dumps({"type": "response.create"})
    with running(app) as server, opened(server) as other, socket.socket() as mute:
        mute.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        mute.connect(("127.0.0.1", server.port))
        mute.sendall(handshake())
        assert mute.recv(12) == b"HTTP/1.1 101"
        mute.sendall(client_frame(create.encode()))
        until(lambda: engine.requests)
        for _ in range(3):
            begun = time.monotonic()
            other.send(create)
            while json.loads(other.recv(5))["type"] != "response.done":
                pass
            assert time.monotonic() - begun < 2.0
        until(lambda: b'fac_closed_total{code="1013"} 1.0' in app.server.metrics.text())
        until(lambda: app.gate.sessions == 1)
