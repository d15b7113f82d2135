"""What a user said, written down."""

from typing import Any

import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, append, manual, run, silence, speech

from fac_jax.text.prompts import TRANSCRIBE

COMMIT = {"type": "input_audio_buffer.commit"}
BUFFER = "input_audio_buffer"
TRANSCRIPTION = "conversation.item.input_audio_transcription"


def transcribed() -> dict[str, Any]:
    given = {"transcription": {"model": "whisper-1"}}
    return {"type": "session.update", "session": {"type": "realtime", "audio": {"input": given}}}


def test_what_the_user_said_is_written_down_when_asked_for() -> None:
    async def test() -> None:
        def script(request: Any, number: int) -> list[str]:
            return ["hello", " you"] if request.conversation.turns[0].text == TRANSCRIBE else ["fine"]

        async with Talk(FakeEngine(script)) as talk:
            await talk.send(transcribed(), append(speech(0.5)), append(silence(0.6)))
            await talk.until(f"{TRANSCRIPTION}.completed")
            item_id = talk.of(f"{BUFFER}.committed")[0]["item_id"]
            done = talk.of(f"{TRANSCRIPTION}.completed")[0]
            assert done["item_id"] == item_id and done["transcript"] == "hello you"
            assert done["usage"] == {"type": "duration", "seconds": pytest.approx(1.0, abs=0.06)}
            assert [event["delta"] for event in talk.of(f"{TRANSCRIPTION}.delta")] == ["hello", " you"]
            reply, transcript = talk.engine.requests
            assert reply.spoken and not transcript.spoken, "the answer comes first"
            got = await talk.ask(
                {"type": "conversation.item.retrieve", "item_id": item_id}, "conversation.item.retrieved"
            )
            assert got[-1]["item"]["content"][0]["transcript"] == "hello you"

    run(test)


def test_a_transcript_that_fails_is_told_and_nothing_else_fails() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(manual(), transcribed(), append(speech(0.5)), COMMIT)
            talk.engine.handles[0].fail()
            failed = (await talk.until(f"{TRANSCRIPTION}.failed"))[-1]
            assert failed["error"]["code"] == "engine_failed"
            await talk.alive()

    run(test)


def test_a_server_that_writes_nothing_down_says_so() -> None:
    async def test() -> None:
        async with Talk(config={"transcribe": False}) as talk:
            await talk.send(transcribed())
            assert talk.of("session.updated")[0]["session"]["audio"]["input"]["transcription"] is None

    run(test)


def test_a_transcript_of_a_turn_that_is_deleted_is_given_up() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(manual(), transcribed(), append(speech(0.5)), COMMIT)
            item_id = talk.of(f"{BUFFER}.committed")[0]["item_id"]
            await talk.send({"type": "conversation.item.delete", "item_id": item_id})
            talk.engine.step()
            await talk.settle()
            assert talk.engine.handles[0].ended == "cancelled"
            assert not [kind for kind in talk.types() if kind.startswith(TRANSCRIPTION)]

    run(test)
