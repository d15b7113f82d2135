"""The events of a live session: what is refused, what is limited, and how it ends."""

from typing import Any

import pytest
from live_talk import PATH, LiveTalk, live_talk, set_pace
from served import app_of
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from fac_jax.serving.config import Limits


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch)


def test_close_tells_the_account() -> None:
    app = app_of()
    with live_talk(app) as talk:
        for _ in range(50):
            talk.slot()
        talk.send("session.close", event_id="bye")
        closed = talk.until("session.closed")
        usage = [event for event in talk.events if event["type"] == "session.usage.updated"]
        assert [event["usage"]["seconds"] for event in usage] == [10.0]
        assert (closed["reason"], closed["usage"]["seconds"], closed["client_event_id"]) == (
            "close_requested",
            10.0,
            "bye",
        )
        with pytest.raises(WebSocketDisconnect) as end:
            talk.receive()
        assert end.value.code == 1000


@pytest.mark.parametrize(
    ("kind", "fields", "code", "param"),
    [
        ("no.such.event", {}, "invalid_value", "type"),
        ("response.create", {}, "unsupported_event", "type"),
        ("decision.create", {}, "unsupported_event", "type"),
        ("transport.answer", {}, "unsupported_event", "type"),
        ("session.input_audio.append", {}, "missing_required_parameter", "audio"),
        ("session.input_audio.append", {"audio": 3}, "invalid_type", "audio"),
        ("session.input_audio.append", {"audio": "?"}, "invalid_value", "audio"),
        ("session.input_audio.append", {"audio": "AAAA"}, "invalid_value", "audio"),
        ("session.instructions.append", {"content": "x" * 40_000}, "context_length_exceeded", "content"),
        ("session.start", {"session": {"model": "fac-fake"}}, "session_already_started", "type"),
    ],
)
def test_an_error_ends_nothing(kind: str, fields: dict[str, Any], code: str, param: str) -> None:
    with live_talk(app_of()) as talk:
        error = talk.send(kind, event_id="wrong", **fields).until("error")
        assert (error["error"]["code"], error["error"]["param"]) == (code, param)
        assert error["client_event_id"] == error["error"]["client_event_id"] == "wrong"
        talk.slot()


@pytest.mark.parametrize(
    ("session", "code"),
    [
        ({}, "missing_required_parameter"),
        ({"model": "nothing"}, "model_not_found"),
        ({"model": "fac-fake", "audio": {"format": {"type": "audio/pcm", "rate": 8000}}}, "invalid_value"),
        ({"model": "fac-fake", "audio": {"output": {"voice": "alloy"}}}, "invalid_value"),
        ({"model": "fac-fake", "instructions": "x" * 40_000}, "invalid_value"),
    ],
)
def test_a_session_that_cannot_begin_may_begin_better(session: dict[str, Any], code: str) -> None:
    with TestClient(app_of()) as client, client.websocket_connect(PATH, headers={}) as socket:
        talk = LiveTalk(socket, 24_000)
        talk.send("session.input_audio.mute")
        assert talk.receive()["error"]["code"] == "session_not_started"
        talk.send("session.start", session=session)
        assert talk.receive()["error"]["code"] == code
        talk.send("session.start", session={"model": "fac-fake", "audio": {"output": {"voice": {"id": "other"}}}})
        assert talk.until("session.started")["session"]["audio"]["output"]["voice"] == "other"


def closes(talk: LiveTalk, send: Any, most: int = 100) -> int:
    """The close code after the same thing was sent often."""
    with pytest.raises(WebSocketDisconnect) as end:
        for _ in range(most):
            send()
            talk.receive()
    return end.value.code


def test_five_malformed_messages_close() -> None:
    with live_talk(app_of()) as talk:
        for raw in ("no json", "[]", '{"a": NaN}', "[" * 50 + "]" * 50):
            talk.socket.send_text(raw)
            assert talk.receive()["error"]["code"] == "invalid_json"
        talk.slot()  # something good in between
        assert closes(talk, lambda: talk.socket.send_bytes(b"\0"), 6) == 1008
        assert len(talk.errors) == 9


def test_a_flood_of_events_closes() -> None:
    with live_talk(app_of(limits=Limits(events_per_second=5))) as talk:
        assert closes(talk, lambda: talk.send("session.input_audio.mute")) == 1008
        assert talk.events[-1]["error"]["code"] == "rate_limit_exceeded"


def test_a_flood_of_audio_closes() -> None:
    with live_talk(app_of(limits=Limits(audio_burst_s=1.0))) as talk:
        minute = "A" * (64 * 24_000)
        assert closes(talk, lambda: talk.send("session.input_audio.append", audio=minute)) == 1008


def test_a_session_has_its_time() -> None:
    with live_talk(app_of(limits=Limits(session_s=0.05))) as talk:
        assert talk.until("session.closed")["reason"] == "expired"
    with live_talk(app_of(limits=Limits(idle_s=0.05))) as talk:
        assert talk.until("session.closed")["reason"] == "connection_lost"
