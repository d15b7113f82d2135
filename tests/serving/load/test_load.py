"""A load test against a server of a few lines, whose replies depend on the number of messages and not on time."""

import base64
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from fake_engine import FakeEngine, Word
from launchers import called
from served import app_of, running
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from fac_jax.audio.io import save_wav
from fac_jax.serving.load.client import Load
from fac_jax.serving.load.run import endpoint, run_load
from fac_jax.types import InputError

WAVE = np.full(24_000 // 10, 0.3, np.float32)  # 0.1 s, three events
SILENT_EVENTS = 2  # after which the server answers
REPLY_EVENTS = 100  # of the client, during which the reply goes on
IDS = itertools.count()


class Stub:
    """A server; `fault` is what it does wrong."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.connections = 0
        self.keys: list[str | None] = []
        self.sessions: list[str] = []
        self.lost = 0
        self.threads: list[threading.Thread] = []

    def __call__(self, client: ServerConnection) -> None:
        assert client.request is not None
        self.threads.append(threading.current_thread())
        self.connections += 1
        self.keys.append(client.request.headers.get("Authorization"))
        try:
            self.talk(client)
        except ConnectionClosed as closed:
            self.lost += closed.rcvd is None

    def talk(self, client: ServerConnection) -> None:
        def send(kind: str, **fields: Any) -> None:
            client.send(json.dumps({"type": kind, **fields}))

        assert client.request is not None
        (session,) = parse_qs(urlsplit(client.request.path).query).get("session_id", [f"sess_{next(IDS)}"])
        self.sessions.append(session)
        send("session.created", session={"id": session})
        spoke, silent, response, left = False, 0, "", 0
        for message in client:
            event = json.loads(message)
            if event["type"] == "response.cancel" and response:
                send("response.done", response={"id": response, "status": "cancelled", "status_details": {}})
                response = ""
            if event["type"] != "input_audio_buffer.append":
                continue
            loud = np.frombuffer(base64.b64decode(event["audio"]), "<i2").any()
            spoke, silent = spoke or bool(loud), 0 if loud else silent + 1
            if spoke and silent == SILENT_EVENTS:
                spoke = False
                if self.fault == "deaf":
                    continue
                if self.fault == "closing":
                    client.close(1012)
                    return
                if self.fault == "breaking" and self.connections == 1:
                    client.socket.shutdown(socket.SHUT_RDWR)
                    return
                response, left = f"resp_{next(IDS)}", REPLY_EVENTS
                send("input_audio_buffer.speech_stopped", audio_end_ms=0, item_id="item")
                if self.fault == "silent":
                    response = ""
                    continue
                send("response.created", response={"id": response, "status": "in_progress"})
                if self.fault == "failing":
                    error = {"type": "server_error", "code": "server_full"}
                    details = {"type": "failed", "error": error}
                    send("response.done", response={"id": response, "status": "failed", "status_details": details})
                    response = ""
                    continue
                other = "resp_of_another" if self.fault == "mixing" else response
                send("response.output_audio_transcript.delta", response_id=other, delta="twelve")
                send("fac.step", response_id=response, step=0, text_id=7, text="twelve", units=[1, 2, 3, 4, 5])
                send("response.output_audio.delta", response_id=response, delta=base64.b64encode(bytes(960)).decode())
            elif response:
                left -= 1
                if left == 0:
                    send("response.done", response={"id": response, "status": "completed", "status_details": None})
                    response = ""


@contextlib.contextmanager
def served(stub: Stub) -> Iterator[str]:
    with serve(stub, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            for one in (thread, *stub.threads):
                one.join()


def load(url: str, sessions: int = 2, **changed: Any) -> Load:
    return Load(url, **{"wave": WAVE, "sessions": sessions, "seconds": 0.4, "speed": 50.0, "buffer_s": 0.0, **changed})


def test_every_client_asks_and_hears_its_replies() -> None:
    """One question each at least, however slow the machine is."""
    stub = Stub()
    with served(stub) as url:
        report, turns = run_load(load(url, sessions=3, key="secret"))
    assert report.errors == {}
    assert set(report.turns) == {"completed"}
    assert {turn.session for turn in turns} == {0, 1, 2}
    assert stub.keys == ["Bearer secret"] * 3
    assert report.replies == report.first_audio.count == report.first_text.count == len(turns)
    assert all(turn.transcript == "twelve" and turn.ids == [(7, 1, 2, 3, 4, 5)] for turn in turns)
    assert 0 < report.detector.p50 <= report.detector.most


def test_some_cancel_and_some_vanish_and_the_others_go_on() -> None:
    stub = Stub()
    with served(stub) as url:
        report, turns = run_load(load(url, sessions=10, cancelling=0.2, vanishing=0.01))
    assert report.errors == {}
    outcomes = {number: {turn.outcome for turn in turns if turn.session == number} for number in range(10)}
    # On a busy machine a reply may be over before the client has read its first audio.
    assert all("cancelled" in outcomes[number] for number in (0, 1)) and "vanished" in outcomes[2]
    assert all(outcomes[number] == {"completed"} for number in range(3, 10))
    assert report.interrupt.count == report.turns["cancelled"]
    # Who vanished resumes; its last connection may end in peace.
    assert 9 <= stub.connections - report.turns["vanished"] <= 10
    assert stub.lost == report.turns["vanished"]
    assert len(set(stub.sessions)) == 10 and report.resumed == stub.connections - 10


@pytest.mark.parametrize(
    ("fault", "code", "wait_s"),
    [
        ("deaf", "no_turn", 0.1),
        ("silent", "no_reply", 0.1),
        ("failing", "server_full", 60.0),
        ("mixing", "foreign_or_late_event", 60.0),
        ("closing", "closed_1012", 60.0),
    ],
)
def test_what_goes_wrong_is_counted(fault: str, code: str, wait_s: float) -> None:
    with served(Stub(fault)) as url:
        report, _ = run_load(load(url, sessions=1, seconds=0.05, wait_s=wait_s))
    assert set(report.errors) == {code}


def test_a_session_is_resumed_when_its_connection_was_lost() -> None:
    stub = Stub("breaking")
    with served(stub) as url:
        report, turns = run_load(load(f"{url}?model=tiny", sessions=1, seconds=1.5))
    assert report.errors == {"closed_1006": 1}
    assert report.resumed == 1 and stub.sessions[0] == stub.sessions[1]
    assert turns[-1].outcome == "completed"


def test_the_server_itself_is_driven_without_an_error() -> None:
    """With an energy gate and scripted replies, at four times real time."""
    app = app_of(FakeEngine(lambda *_: [Word("twelve", audio_s=0.1)]))
    with running(app) as started:
        wave = np.tile(WAVE, 4)
        url = f"http://127.0.0.1:{started.port}?model={FakeEngine.model}&events=fac"
        report, turns = run_load(load(url, sessions=3, seconds=0.1, speed=4.0, wave=wave, watch_s=0.1))
    assert report.errors == {}
    assert report.server_cores > 0 and report.client_cores > 0
    held = report.resources
    assert held["fac_sessions"].early > 0 and held["fac_sessions"].after == held["fac_slots_used"].after == 0
    assert held["process_resident_memory_bytes"].late > 1e7 and held["fac_tasks"].after < held["fac_tasks"].early
    assert [(turn.outcome, turn.transcript) for turn in turns] == [("completed", "twelve")] * 3
    assert all(len(turn.ids) == 1 for turn in turns)
    assert (report.first_text.count, report.first_audio.count) == (3, 3)


def test_a_client_that_is_refused_does_not_come_again() -> None:
    with (
        serve(Stub(), "127.0.0.1", 0, process_request=lambda client, _: client.respond(503, "full")) as server,
        contextlib.ExitStack() as stack,
    ):
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        report, turns = run_load(load(f"http://127.0.0.1:{server.socket.getsockname()[1]}", sessions=4))
    assert report.errors == {"refused_503": 4}
    assert turns == []


def test_only_this_machine_is_loaded() -> None:
    with pytest.raises(InputError, match="another machine"):
        endpoint("ws://192.0.2.1:8000")  # an address for documentation: nobody has it
    with pytest.raises(InputError, match="is no URL of a server"):
        endpoint("127.0.0.1:8000")
    with pytest.raises(InputError, match="no server answers"):
        endpoint("ws://127.0.0.1:1")
    with served(Stub()) as url:
        assert endpoint(url) == f"{url}/v1/realtime"
        assert endpoint(f"{url.replace('ws', 'http')}/v2?model=tiny") == f"{url}/v2?model=tiny"


@pytest.mark.parametrize(
    "changed",
    [{"sessions": 1001}, {"seconds": 3601.0}, {"cancelling": 0.7, "vanishing": 0.7}, {"wave": np.zeros(9, np.float32)}],
)
def test_a_test_without_bounds_does_not_begin(changed: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        run_load(Load(**{"url": "ws://127.0.0.1:1", "wave": WAVE, **changed}))


def test_the_launcher_prints_a_table_or_json(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    save_wav(tmp_path / "question.wav", WAVE, 24_000)
    with served(Stub()) as url:
        arguments = (f"--url={url}", "--sessions=2", "--seconds=0.2", "--speed=50", f"--wave={tmp_path}/question.wav")
        called("experiments.load_test", *arguments)
        table = capsys.readouterr().out
        called("experiments.load_test", *arguments, "--json")
        found = json.loads(capsys.readouterr().out)
    assert "2 sessions" in table
    assert "speech_stopped to first audio" in table
    assert table.endswith("errors: none\n")
    assert found["errors"] == {}
    assert found["first_audio"]["count"] == found["turns"]["completed"] > 0
