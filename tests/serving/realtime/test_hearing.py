"""The user's audio: turns by hand and by a detector, interruption, transcripts, formats, silence."""

import numpy as np
import pytest
from fake_engine import FakeEngine
from realtime_talk import RATE, Talk, append, detection, manual, run, silence, speech, user

from fac_jax.audio.io import resampled
from fac_jax.serving.realtime.settings import Pcm
from fac_jax.serving.realtime.sound import from_base64

CREATE = {"type": "response.create"}
COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
BUFFER = "input_audio_buffer"
END = "rate_limits.updated"


def test_a_turn_by_hand_is_all_audio_since_the_last_commit() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), append(speech(0.5)), CLEAR)
            wave = speech(0.731)
            for begin in range(0, len(wave), 1000):
                await talk.send(append(wave[begin : begin + 1000]))
            assert talk.types()[2:] == [f"{BUFFER}.cleared"], "audio is not answered"
            await talk.send(COMMIT)
            assert talk.types()[3:] == [f"{BUFFER}.committed", "conversation.item.added", "conversation.item.done"]
            dropped, heard = talk.engine.heard
            assert dropped.state == "dropped" and heard.state == "closed"
            np.testing.assert_allclose(heard.wave, resampled(wave, RATE), atol=1e-3)
            await talk.send(CREATE)
            (turn,) = talk.engine.requests[0].conversation.turns
            np.testing.assert_array_equal(turn.wave, heard.wave)

    run(test)


def test_100_ms_are_enough_for_a_commit_and_less_are_not() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), append(speech(0.099)))
            assert (await talk.error(COMMIT))["code"] == "input_audio_buffer_commit_empty"
            await talk.send(append(speech(0.001)), COMMIT)
            assert talk.types()[-3] == f"{BUFFER}.committed"

    run(test)


def test_one_long_append_is_heard_like_many_short_ones() -> None:
    async def test() -> None:
        async with Talk() as talk:
            turn = np.concatenate([silence(0.5), speech(0.6), silence(0.8)])
            await talk.send(append(np.concatenate([turn, turn])))
            await talk.until(f"{BUFFER}.speech_stopped", 2)
            starts = [event["audio_start_ms"] for event in talk.of(f"{BUFFER}.speech_started")]
            assert starts == pytest.approx([200, 2100], abs=20)

    run(test)


def test_speech_interrupts_a_reply() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go", " on"] * 30, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            engine.step(3)
            await talk.until("response.output_audio.delta", 3)
            await talk.send(append(speech(0.2)))
            events = await talk.until(END)
            assert [event["type"] for event in events] == [
                f"{BUFFER}.speech_started",
                "response.output_audio.done",
                "response.output_audio_transcript.done",
                "response.content_part.done",
                "conversation.item.done",
                "response.output_item.done",
                "response.done",
                END,
            ]
            done = events[-2]["response"]
            assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
            engine.step(3)
            await talk.send(append(silence(0.6)))
            await talk.until("response.created")
            assert len(talk.of("response.output_audio.delta")) == 3, "nothing of the reply follows"
            assert engine.handles[0].ended == "cancelled" and talk.metrics.interrupt._sum.get() < 0.5

    run(test)


def test_speech_leaves_a_reply_alone_if_the_session_says_so() -> None:
    async def test() -> None:
        engine = FakeEngine(by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(detection(interrupt_response=False), user("hi"), CREATE)
            engine.step(2)
            await talk.send(append(speech(0.3)), append(silence(0.6)))
            assert not talk.of("response.done") and len(talk.of("response.created")) == 1
            engine.finish()
            await talk.until("response.created", 2)
            assert talk.types().index("response.done") < len(talk.events) - 1, (
                "its answer waits for the end of the other"
            )
            await talk.settle()
            assert len(engine.requests) == 2 and engine.requests[1].conversation.turns[-1].wave is not None

    run(test)


def test_a_session_can_want_turns_without_answers() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(detection(create_response=False), append(speech(0.3)), append(silence(0.6)))
            await talk.until("conversation.item.done")
            await talk.settle()
            assert not talk.of("response.created")

    run(test)


def test_audio_is_retrieved_as_soon_as_it_is_there() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), append(speech(0.5)))
            for event in (COMMIT, user("and")):
                await talk.send(event)
            item_id = talk.of(f"{BUFFER}.committed")[0]["item_id"]
            got = await talk.ask(
                {"type": "conversation.item.retrieve", "item_id": item_id}, "conversation.item.retrieved"
            )
            audio = from_base64(got[-1]["item"]["content"][0]["audio"], Pcm(), "audio")
            np.testing.assert_allclose(audio[400:-400], speech(0.5)[400:-400], atol=1e-2)

    run(test)


def test_a_long_silence_lets_the_model_speak_again() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(detection(idle_timeout_ms=2000), append(silence(3.0)))
            assert not talk.of(f"{BUFFER}.timeout_triggered"), "before the model has spoken nobody is impatient"
            await talk.send(user("hi"), CREATE)
            await talk.until(END)
            await talk.send(append(silence(0.2)))
            await talk.move(1.0)
            await talk.send(append(silence(1.9)))
            assert not talk.of(f"{BUFFER}.timeout_triggered")
            await talk.send(append(silence(0.3)))
            await talk.until("response.done")
            triggered = talk.of(f"{BUFFER}.timeout_triggered")[0]
            assert (triggered["audio_start_ms"], triggered["audio_end_ms"]) == (3200, 5300)
            assert talk.of(f"{BUFFER}.committed")[0]["item_id"] == triggered["item_id"]

    run(test)


def test_old_waves_that_no_prompt_can_hold_are_forgotten() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=20)) as talk:  # 4 s of audio
            await talk.send(manual())
            for _ in range(3):
                await talk.send(append(speech(1.9)), COMMIT)
            ids = [event["item_id"] for event in talk.of(f"{BUFFER}.committed")]
            sizes = []
            for item_id in ids:
                event = {"type": "conversation.item.retrieve", "item_id": item_id}
                got = await talk.ask(event, "conversation.item.retrieved")
                sizes.append(len(got[-1]["item"]["content"][0]["audio"]))
            assert sizes[0] == 0 and min(sizes[1:]) > 100_000

    run(test)


def test_nothing_is_left_open_in_the_engine_when_a_client_goes() -> None:
    async def test() -> None:
        engine = FakeEngine(by_hand=True)
        async with Talk(engine) as talk:
            session = talk.events[0]["session"]["id"]
            await talk.send(user("hi"), CREATE, append(speech(0.05) * 0.01), append(speech(0.3)))
            await talk.send({"type": "response.create", "response": {"conversation": "none"}})
        await talk.settle()
        assert all(handle.ended == "cancelled" for handle in engine.handles)
        assert [heard.state for heard in engine.heard] == ["dropped"] and engine.forgotten == [session]

    run(test)
