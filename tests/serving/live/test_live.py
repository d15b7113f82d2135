"""A session of full duplex with a model that takes turns: the user speaks by a tone, the model by a quieter one."""

import asyncio
import time
from typing import Any

import numpy as np
import openai
import pytest
from fake_engine import FakeEngine
from live_talk import PATH, LiveTalk, live_talk, set_pace
from served import KEY, app_of, base64_of, running, until
from starlette.testclient import TestClient

from fac_jax.serving.config import Limits
from fac_jax.serving.live.slots import Pace
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT, TRANSCRIBE
from fac_jax.types import InputError

LONG = [f" w{number}" for number in range(30)]


@pytest.fixture(autouse=True)
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch)


def loud(heard: np.ndarray) -> bool:
    return bool(np.std(heard) > 0.01)


def quiet(heard: np.ndarray) -> bool:
    return not np.any(heard)


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_a_turn_is_heard_and_answered(rate: int) -> None:
    engine = FakeEngine()
    app = app_of(engine, transcribe=False)
    with live_talk(app, rate, instructions="Be brief.") as talk:
        for _ in range(3):
            assert quiet(talk.slot())
        talk.speak()
        talk.slots_until(loud)
        talk.slots_until(quiet)
        talk.slot()
        assert talk.said() == "this is reply 1"
        times = [(e["start_ms"], e["end_ms"]) for e in talk.events if e["type"] == "session.output_transcript.delta"]
        assert all(end - start == 200 and start % 200 == 0 for start, end in times)
        assert times == sorted(set(times)) and times[-1][1] <= 200 * (len(talk.events) - 1)
        (request,) = engine.requests
        assert request.spoken and request.conversation.system == f"{SYSTEM_JOINT} Be brief."
        (turn,) = request.conversation.turns
        assert turn.wave is not None
        seconds = len(turn.wave) / 16_000
        assert 1.1 - 0.04 < seconds < 1.1 + 0.6  # padding, the words, the silence
        assert engine.handles[0].played_s == pytest.approx(0.8)
    assert engine.forgotten and app.gate.sessions == 0
    assert b"fac_first_audio_seconds_count 1.0" in app.server.metrics.text()


def test_the_next_turn_remembers_the_one_before() -> None:
    engine = FakeEngine()
    history = [
        {"role": "user", "content": [{"type": "input_text", "text": "my name is Ann"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "hello Ann"}]},
        {"role": "developer", "content": [{"type": "input_text", "text": "Be kind."}]},
    ]
    with live_talk(app_of(engine, transcribe=False), input=history) as talk:
        for _ in range(2):
            talk.speak()
            talk.slots_until(loud)
            talk.slots_until(quiet)
    turns = engine.requests[1].conversation.turns
    assert [turn.role for turn in turns] == ["user", "assistant", "user", "assistant", "user"]
    assert turns[0].text == "my name is Ann"
    assert turns[3].generated is not None and engine.text_of(turns[3].generated) == "this is reply 1"
    assert engine.requests[1].conversation.system == f"{SYSTEM_JOINT} Be kind."
    assert engine.requests[0].session == engine.requests[1].session is not None


def test_the_user_interrupts() -> None:
    engine = FakeEngine(lambda request, number: LONG)
    with live_talk(app_of(engine, transcribe=False)) as talk:
        talk.speak()
        talk.slots_until(loud)
        for _ in range(4):
            assert loud(talk.slot())
        while loud(talk.slot(loud=True)):
            pass
        talk.speak(1)
        talk.slots_until(loud)
    said, cut = engine.requests[1].conversation.turns[:2]
    assert said.role == "user" and cut.generated is not None
    text = engine.text_of(cut.generated)
    groups = len(cut.generated.groups)
    assert 5 <= groups <= 9 and text == "".join(LONG[:groups])  # what was heard, and no more
    assert text.startswith(talk.said()[: len(text)])


def test_an_interrupted_reply_that_is_still_made_is_cancelled() -> None:
    engine = FakeEngine(lambda request, number: LONG, by_hand=True)
    with live_talk(app_of(engine, transcribe=False)) as talk:
        talk.speak()
        until(lambda: engine.handles)
        engine.step(3)
        talk.slots_until(loud)
        for _ in range(4):
            talk.slot(loud=True)
        until(lambda: engine.handles[0].ended == "cancelled")
        talk.speak(1)
        until(lambda: len(engine.handles) == 2)
    assert [turn.role for turn in engine.requests[1].conversation.turns] == ["user", "assistant", "user"]


def test_a_reply_of_which_nothing_was_heard_is_forgotten() -> None:
    engine = FakeEngine(by_hand=True)
    with live_talk(app_of(engine, transcribe=False)) as talk:
        talk.speak()
        until(lambda: engine.handles)
        talk.speak()
        until(lambda: len(engine.handles) == 2)
        assert engine.handles[0].ended == "cancelled"
    assert [turn.role for turn in engine.requests[1].conversation.turns] == ["user", "user"]


def test_what_was_said_is_written_down_after_the_reply() -> None:
    engine = FakeEngine(lambda request, number: ["you", " said"] if not request.spoken else ["fine"])
    with live_talk(app_of(engine)) as talk:
        talk.speak()
        talk.slots_until(lambda _: talk.said("input"))
        (heard,) = (event for event in talk.events if event["type"] == "session.input_transcript.delta")
        assert heard["delta"] == "you said"
        assert heard["start_ms"] < 800 <= heard["end_ms"]
    reply, transcript = engine.requests
    assert reply.spoken and reply.conversation.system == SYSTEM_JOINT
    assert not transcript.spoken and transcript.conversation.system == SYSTEM_TEXT
    assert transcript.conversation.turns[0].text == TRANSCRIBE


def test_mute_instructions_and_acknowledgements() -> None:
    engine = FakeEngine()
    with live_talk(app_of(engine, transcribe=False)) as talk:
        assert talk.send("session.input_audio.mute", event_id="m").until("session.input_audio.muted")["client_event_id"]
        for _ in range(8):
            talk.slot(loud=True)
        talk.slots_until(quiet)
        assert not engine.requests
        talk.send("session.input_audio.unmute").until("session.input_audio.unmuted")
        for kind in ("instructions", "thinking", "commentary"):
            told = talk.send(f"session.{kind}.append", content=kind, delegation_id=None, event_id=kind)
            answer = told.until(f"session.{kind}.appended")
            assert answer["client_event_id"] == kind and answer["end_ms"] - answer["start_ms"] == 200
        updated = talk.send("session.update", session={"delegation": {"type": "client"}}).until("session.updated")
        assert updated["session"]["status"] == "active"
        talk.speak()
        until(lambda: engine.requests)
        assert engine.requests[0].conversation.system == f"{SYSTEM_JOINT} instructions\nthinking\ncommentary"


def test_a_turn_has_its_time() -> None:
    engine = FakeEngine()
    with live_talk(app_of(engine, limits=Limits(turn_s=2.0), transcribe=False)) as talk:
        for _ in range(14):
            talk.slot(loud=True)
        until(lambda: engine.requests)
    wave = engine.requests[0].conversation.turns[0].wave
    assert wave is not None and 2.0 <= len(wave) / 16_000 <= 2.3


def test_the_oldest_turns_are_forgotten_when_the_context_is_full() -> None:
    engine = FakeEngine(context=60)
    with live_talk(app_of(engine, transcribe=False)) as talk:
        for _ in range(4):
            talk.speak()
            talk.slots_until(loud)
            talk.slots_until(quiet)
    turns = [len(request.conversation.turns) for request in engine.requests]
    assert turns[0] == 1 and max(turns) < 7 and len(turns) == 4
    assert engine.requests[-1].conversation.turns[-1].role == "user"


def test_faults_are_told_and_the_session_goes_on() -> None:
    engine = FakeEngine()
    with live_talk(app_of(engine, transcribe=False)) as talk:
        engine.full = True
        talk.speak()
        talk.slots_until(lambda _: "server_full" in talk.errors)
        engine.full, engine.fail_at = False, 1
        talk.speak()
        talk.slots_until(lambda _: "engine_failed" in talk.errors)
        engine.fail_at = None
        talk.speak()
        talk.slots_until(loud)
    assert talk.errors == ["server_full", "engine_failed"]


def test_a_turn_that_the_model_refuses_is_forgotten() -> None:
    class Deaf(FakeEngine):
        deaf = True

        def submit(self, request: Any, deliver: Any) -> Any:
            if self.deaf:
                raise InputError("too short")
            return super().submit(request, deliver)

    engine = Deaf()
    with live_talk(app_of(engine, transcribe=False)) as talk:
        talk.speak()
        until(lambda: engine.heard and engine.heard[0].state == "closed")
        talk.slot()
        engine.deaf = False
        talk.speak()
        talk.slots_until(loud)
    assert len(engine.requests[0].conversation.turns) == 1
    assert not talk.errors


def test_the_page_sees_steps_and_the_detector() -> None:
    app = app_of(transcribe=False)
    with TestClient(app) as client, client.websocket_connect(f"{PATH}?events=fac", headers={}) as socket:
        talk = LiveTalk(socket, 24_000)
        talk.receive = lambda: talk.events.append(socket.receive_json()) or talk.events[-1]  # not of the SDK
        talk.send("session.start", session={"model": app.server.engine.model}).until("session.started")
        talk.speak()
        talk.slots_until(loud)
    steps = [event for event in talk.events if event["type"] == "fac.step"]
    assert [step["text"] for step in steps] == ["this", " is", " reply", " 1"] and len(steps[0]["units"]) == 5
    assert {event["probability"] for event in talk.events if event["type"] == "fac.vad"} == {0.0, 1.0}


def test_late_audio_is_silence_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch, Pace(slot_s=0.2, late_s=0.02))
    with live_talk(app_of()) as talk:
        talk.slot()
        began = time.monotonic()
        talk.until("session.output_audio.delta")  # without a word of ours
        assert time.monotonic() - began < 5


def test_a_secret_binds_its_instructions() -> None:
    engine = FakeEngine()
    app = app_of(engine, transcribe=False)
    secret, _ = app.gate.new_secret("anyone", {"instructions": "Be brief."}, 60)
    with (
        TestClient(app) as client,
        client.websocket_connect(PATH, headers={}, subprotocols=["realtime", f"openai-insecure-api-key.{secret}"]) as s,
    ):
        talk = LiveTalk(s, 24_000)
        talk.send("session.start", session={"model": engine.model}).until("session.started")
        talk.speak()
        until(lambda: engine.requests)
    assert engine.requests[0].conversation.system == f"{SYSTEM_JOINT} Be brief."


def test_an_adapter_of_the_model_answers_if_the_session_names_it() -> None:
    engine = FakeEngine()
    engine.others = ("mine",)
    with TestClient(app_of(engine, transcribe=False)) as client, client.websocket_connect(PATH, headers={}) as socket:
        talk = LiveTalk(socket, 24_000)
        talk.send("session.start", session={"model": "mine"}).until("session.started")
        talk.speak()
        until(lambda: engine.requests)
    assert engine.requests[0].model == "mine"


def test_the_sdk_talks() -> None:
    engine = FakeEngine()

    async def talk(port: int) -> str:
        client = openai.AsyncOpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")
        async with client.live.connect() as connection:
            await connection.send({"type": "session.start", "session": {"model": engine.model}})
            said, closing, tones = "", False, iter([0.3] * 4)
            async for event in connection:
                if event.type == "session.output_transcript.delta":
                    said += event.delta
                if event.type == "session.closed":
                    return said
                if said == "this is reply 1" and not closing:
                    await connection.send({"type": "session.close"})
                    closing = True
                if event.type in ("session.started", "session.output_audio.delta") and not closing:
                    wave = np.sin(np.arange(4800) / 5) * next(tones, 0.0)
                    audio = (wave * 32_767).astype("<i2").tobytes()
                    await connection.send({"type": "session.input_audio.append", "audio": base64_of(audio)})
        return said

    with running(app_of(engine, keys=(KEY,))) as server:
        assert asyncio.run(talk(server.port)) == "this is reply 1"
