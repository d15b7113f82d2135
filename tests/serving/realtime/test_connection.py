"""A connection and its limits: beginning, slow readers, rates, time, faults, secrets."""

import asyncio
import json
from typing import Any

import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, append, manual, run, silence, speech, user

from fac_jax.serving.config import Limits
from fac_jax.serving.security import Access
from fac_jax.types import InputError

CREATE = {"type": "response.create"}
END = "rate_limits.updated"


def test_the_first_event_shows_the_whole_session() -> None:
    async def test() -> None:
        async with Talk() as talk:
            session = talk.events[0]["session"]
            assert session["type"] == "realtime" and session["model"] == "fac-fake"
            assert session["audio"]["output"]["voice"] == "default"
            assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
            assert session["expires_at"] > 1_700_000_000 and session["id"].startswith("sess_")

    run(test)


def test_a_model_without_a_voice_answers_in_text() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(voices=())) as talk:
            assert talk.events[0]["session"]["output_modalities"] == ["text"]
            session = {"type": "realtime", "output_modalities": ["audio"]}
            error = await talk.error({"type": "session.update", "session": session})
            assert error["param"] == "session.output_modalities"
            await talk.send(user("hi"), CREATE)
            await talk.until(END)

    run(test)


def test_a_client_secret_brings_its_session() -> None:
    async def test() -> None:
        fields = {
            "type": "realtime",
            "model": "fac-fake",
            "instructions": "Be kind.",
            "audio": {"input": {"turn_detection": None}},
        }
        async with Talk(access=Access("key 1", fields, "realtime")) as talk:
            assert talk.events[0]["session"]["instructions"] == "Be kind." and talk.socket.subprotocol == "realtime"
            await talk.send(append(speech(0.3)), append(silence(1.0)))
            assert not talk.of("input_audio_buffer.speech_started"), "there is no detector"

    run(test)


def test_a_wrong_session_of_a_secret_is_told_and_left_out() -> None:
    async def test() -> None:
        async with Talk(access=Access("key 1", {"type": "realtime", "max_output_tokens": 0})) as talk:
            error = (await talk.until("error"))[-1]["error"]
            assert error["param"] == "session.max_output_tokens"
            assert talk.events[0]["session"]["max_output_tokens"] == "inf"
            await talk.alive()

    run(test)


def test_a_reader_that_takes_nothing_is_closed_and_its_replies_end() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go"] * 50, by_hand=True)
        async with Talk(engine, limits=Limits(queue_bytes=50_000)) as talk:
            talk.socket.reads.clear()
            await talk.send(user("hi"), CREATE)
            engine.step(9)
            await talk.settle()
            talk.socket.reads.set()
            assert await talk.closed() == 1013
        await talk.settle()
        assert engine.handles[0].ended == "cancelled"

    run(test)


def test_a_reader_that_takes_a_message_for_too_long_is_closed() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(send_s=0.05)) as talk:
            talk.socket.reads.clear()
            await talk.send(user("hi"))
            assert await talk.closed() == 1013

    run(test)


def test_audio_of_a_cancelled_response_is_dropped_before_a_slow_reader_gets_it() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go"] * 30, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            talk.socket.reads.clear()
            engine.step(20)
            await talk.send({"type": "response.cancel"})
            talk.socket.reads.set()
            await talk.until("response.done")
            deltas = len(talk.of("response.output_audio.delta"))
            text = "".join(event["delta"] for event in talk.of("response.output_audio_transcript.delta"))
            assert (
                deltas <= 1 and text == "go" * 20 == talk.of("response.output_audio_transcript.done")[0]["transcript"]
            )

    run(test)


def test_the_engine_need_not_hurry_for_a_reader_that_is_behind() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go"] * 60, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            talk.socket.reads.clear()
            engine.step(40)
            await talk.settle()
            await talk.move(3.0)
            assert engine.handles[0].played_s == 0
            talk.socket.reads.set()
            await talk.settle()
            await talk.move(1.0)
            assert engine.handles[0].played_s == pytest.approx(4.0)

    run(test)


def test_a_flood_of_events_is_refused_once_and_closed_at_the_second_time() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(events_per_second=10)) as talk:
            event = {"type": "session.update", "session": {"type": "realtime"}}
            await talk.send(*[event] * 11)
            (error,) = talk.of("error")
            assert (error["error"]["type"], error["error"]["code"]) == ("rate_limit_error", "rate_limit_exceeded")
            assert len(talk.of("session.updated")) == 10
            await talk.move(11.0)
            await talk.send(*[event] * 11)
            assert len(talk.of("error")) == 2, "this is not within 10 s of the first"
            await talk.move(0.5)
            await talk.send(*[event] * 6)
            assert await talk.closed() == 1008

    run(test)


def test_audio_comes_four_times_as_fast_as_it_is_spoken_and_no_faster() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(audio_burst_s=2.0)) as talk:
            await talk.send(manual(), append(silence(1.9)))
            error = await talk.error(append(silence(0.2)))
            assert error["code"] == "rate_limit_exceeded"
            await talk.move(0.25)
            await talk.send(append(silence(1.0)))
            assert len(talk.of("error")) == 1

    run(test)


def test_a_message_that_is_too_large_closes_the_connection() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(message_bytes=1000)) as talk:
            await talk.send("x" * 1001)
            assert await talk.closed() == 1009

    run(test)


def test_a_session_ends_at_its_time() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(session_s=100)) as talk:
            for _ in range(5):
                await talk.move(19.0)
                await talk.alive()
            await talk.move(6.0)
            assert await talk.closed() == 1000
            assert talk.of("error")[0]["error"]["code"] == "session_expired"

    run(test)


def test_a_session_ends_when_nothing_happens() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True), limits=Limits(idle_s=60)) as talk:
            await talk.send(user("hi"), CREATE)
            await talk.move(59.0)
            await talk.move(59.0)  # the reply is under way: that is no idleness
            talk.engine.finish()
            await talk.until(END)
            await talk.move(59.0)
            assert not talk.of("error")
            await talk.move(2.0)
            assert await talk.closed() == 1000

    run(test)


def test_a_client_that_goes_ends_the_talk() -> None:
    async def test() -> None:
        talk = Talk(FakeEngine(by_hand=True))
        async with talk:
            await talk.send(user("hi"), CREATE)
        await talk.settle()
        assert talk.engine.handles[0].ended == "cancelled"
        assert talk.socket.code is None, "it is closed already"

    run(test)


def test_a_talk_that_is_cancelled_ends_its_replies() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(user("hi"), CREATE)
            talk.running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await talk.running
            await asyncio.sleep(0)
            assert talk.engine.handles[0].ended == "cancelled"
            assert len(asyncio.all_tasks()) == 1, "no task is left"

    run(test)


def test_a_fault_in_the_engines_audio_ends_the_talk_loudly() -> None:
    async def test() -> None:
        async with Talk() as talk:

            async def broken() -> Any:
                raise RuntimeError("no device")

            await talk.send(manual(), append(speech(0.3)))
            talk.engine.heard[0].close = broken
            await talk.socket.incoming.put(
                {"type": "websocket.receive", "text": json.dumps({"type": "input_audio_buffer.commit"})}
            )
            with pytest.raises(RuntimeError, match="no device"):
                await talk.running
            talk.running = asyncio.ensure_future(asyncio.sleep(0))

    run(test)


def test_a_request_that_the_engine_refuses_fails_its_response_alone() -> None:
    async def test() -> None:
        async with Talk() as talk:

            def refuse(*_: Any) -> Any:
                raise InputError("no such voice")

            talk.engine.submit, submit = refuse, talk.engine.submit
            await talk.send(user("hi"), CREATE)
            assert (await talk.until("response.done"))[-1]["response"]["status"] == "failed"
            talk.engine.submit = submit
            await talk.send(CREATE)
            assert (await talk.until("response.done"))[-1]["response"]["status"] == "completed"

    run(test)


def test_a_fault_of_the_protocol_ends_the_talk_and_not_the_engine() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(user("hi"), CREATE)
            deliver = talk.engine.handles[0]._deliver
            deliver("no event of the engine")
            with pytest.raises(AttributeError):
                await talk.running
            talk.running = asyncio.ensure_future(asyncio.sleep(0))

    run(test)


def test_two_sessions_do_not_meet() -> None:
    async def test() -> None:
        engine = FakeEngine(by_hand=True)
        async with Talk(engine) as one, Talk(engine) as two:
            await one.send(user("hi"), CREATE)
            await two.send(user("ho"), CREATE)
            engine.finish()
            for talk, number in ((one, 1), (two, 2)):
                await talk.until(END)
                assert (
                    talk.of("response.done")[0]["response"]["output"][0]["content"][0]["transcript"]
                    == f"this is reply {number}"
                )
            ids = [{event["event_id"] for event in talk.events} for talk in (one, two)]
            assert not ids[0] & ids[1]
            sessions = {request.session for request in engine.requests}
            assert len(sessions) == 2

    run(test)
