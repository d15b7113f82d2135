"""The recorded sessions of the `openai` SDK and of pipecat (tests/golden/realtime), sent again."""

import json
from pathlib import Path
from typing import Any, Final

import pytest
from fake_engine import FakeEngine
from live_talk import LiveTalk, set_pace
from served import app_of
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

FOLDER: Final = Path(__file__).parents[2] / "golden" / "realtime"
OTHERWISE: Final = ("session.output_transcript.delta", "session.usage.updated")  # come at times of each server's own


def required(event: dict[str, Any]) -> dict[str, Any]:
    """What of a recorded event has to come again."""
    keys = ("type", "client_event_id", "reason", "start_ms", "end_ms")
    found = {key: event[key] for key in keys if key in event}
    if "error" in event:
        found["error"] = {key: event["error"][key] for key in ("type", "code", "param", "client_event_id")}
    if "session" in event:
        keys = ("status", "audio", "delegation", "model", "instructions", "input")
        found["session"] = {key: event["session"][key] for key in keys if key in event["session"]}
    return found


@pytest.mark.parametrize("name", ["live_full_duplex", "other_clients/pipecat_live"])
def test_a_recorded_session(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch)
    engine = FakeEngine()
    engine.model = "fac-dummy"
    app = app_of(engine)
    handshake, *lines = [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]
    path = handshake["handshake"]["path"]
    with TestClient(app) as client, client.websocket_connect(path, headers={}) as socket:
        talk = LiveTalk(socket, 24_000)
        for line in lines:
            if line["dir"] == "client":
                socket.send_json(line["event"])
            elif "close" in line:
                with pytest.raises(WebSocketDisconnect) as closed:
                    talk.receive()
                assert closed.value.code == line["close"]
            elif line["event"]["type"] not in OTHERWISE:
                event = talk.until(line["event"]["type"])
                wanted = required(line["event"])
                assert {key: event[key] for key in wanted if key != "session"} | {
                    key: required(event)[key] for key in wanted if key in ("session", "error")
                } == wanted
    assert engine.heard  # the tone, for the detector by energy
    assert talk.errors == (["invalid_value"] if name == "live_full_duplex" else [])
