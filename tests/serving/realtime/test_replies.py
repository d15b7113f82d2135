"""Replies: their events, cancelling, out-of-band responses, usage, and how they fail."""

import base64
import itertools
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine, Word
from realtime_talk import RATE, Talk, append, audio_of, manual, run, silence, speech, user

from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT

CREATE = {"type": "response.create"}
END = "rate_limits.updated"


def seconds(events: list[Any]) -> list[float]:
    """Returns the seconds of audio of each audio event."""
    deltas = [base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta"]
    return [len(delta) / 2 / RATE for delta in deltas]


def test_text_goes_out_before_its_audio_and_deltas_add_up() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(user("hi"), CREATE)
            created = await talk.until("response.created")
            assert [e["type"] for e in created][-1] == "response.created"
            assert not talk.of("response.output_item.added"), "no step was made"
            talk.engine.step()
            first = await talk.until("response.output_audio.delta")
            assert [e["type"] for e in first][-2:] == [
                "response.output_audio_transcript.delta",
                "response.output_audio.delta",
            ]
            assert first[-2]["delta"] == "this"
            events = await talk.until(END, step=True)
            text = "".join(e["delta"] for e in talk.of("response.output_audio_transcript.delta"))
            assert talk.of("response.output_audio_transcript.done")[0]["transcript"] == text == "this is reply 1"
            assert len(audio_of(talk.events)) == 4 * 0.2 * RATE
            assert [e["type"] for e in events][-7:] == [
                "response.output_audio.done",
                "response.output_audio_transcript.done",
                "response.content_part.done",
                "conversation.item.done",
                "response.output_item.done",
                "response.done",
                END,
            ]

    run(test)


@pytest.mark.parametrize("audio_s", [0.013, 0.2, 1.37])
def test_an_audio_event_has_40_to_400_ms(audio_s: float) -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: [Word(f"w{n} ", 5, audio_s) for n in range(7)])) as talk:
            await talk.send(user("hi"), CREATE)
            found = seconds(await talk.until(END))
            assert all(0.04 <= one <= 0.4 for one in found)
            assert 0 <= sum(found) - 7 * round(audio_s * RATE) / RATE < 0.04

    run(test)


def test_a_telephone_gets_its_format_at_8_khz() -> None:
    async def test() -> None:
        async with Talk() as talk:
            output = {"format": {"type": "audio/pcmu"}}
            await talk.send(user("hi"), {**CREATE, "response": {"audio": {"output": output}}})
            events = await talk.until(END)
            data = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
            assert len(data) == pytest.approx(0.8 * 8000, abs=0.04 * 8000)
            loud = np.frombuffer(data, np.uint8)[800:-800]
            assert len(set(loud.tolist())) > 20, "a tone has many levels"

    run(test)


def test_a_reply_in_text_has_no_audio() -> None:
    async def test() -> None:
        async with Talk() as talk:
            response = {"output_modalities": ["text"], "instructions": "Be kind.", "max_output_tokens": 9}
            await talk.send(user("hi"), {**CREATE, "response": response})
            events = await talk.until(END)
            assert not any("audio" in e["type"] for e in events)
            assert talk.of("response.output_text.done")[0]["text"] == "this is reply 1"
            (request,) = talk.engine.requests
            assert not request.spoken and request.limit == 9
            assert request.conversation.system == f"{SYSTEM_TEXT}\nBe kind."

    run(test)


def test_a_request_has_voice_session_and_the_prompt_of_the_release() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(user("hi"), CREATE)
            await talk.until(END)
            await talk.send({**CREATE, "response": {"audio": {"output": {"voice": "other"}}}})
            await talk.until(END)
            one, two = talk.engine.requests
            assert one.spoken and one.limit == 600 and one.voice is None and two.voice == "other"
            assert one.session == two.session == talk.events[0]["session"]["id"]
            assert one.conversation.system == SYSTEM_JOINT
            assert [turn.text for turn in one.conversation.turns] == ["hi"]
            assert two.conversation.turns[1].generated is not None, "what the model said is kept id for id"

    run(test)


def test_leading_white_space_waits_for_a_word() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: ["\n", " ", "yes"])) as talk:
            await talk.send(user("hi"), CREATE)
            await talk.until(END)
            assert [e["delta"] for e in talk.of("response.output_audio_transcript.delta")] == ["\n yes"]
            assert len(audio_of(talk.events)) == round(3 * 0.2 * RATE)

    run(test)


def test_speech_without_text_is_still_heard() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: ["", ""])) as talk:
            await talk.send(user("hi"), CREATE)
            await talk.until(END)
            assert talk.of("response.output_audio_transcript.done")[0]["transcript"] == ""
            assert len(audio_of(talk.events)) == 2 * 0.2 * RATE

    run(test)


def test_usage_counts_positions() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), append(speech(0.6)), {"type": "input_audio_buffer.commit"}, CREATE)
            usage = (await talk.until("response.done"))[-1]["response"]["usage"]
            assert usage["input_token_details"]["audio_tokens"] == 3
            assert usage["output_token_details"] == {"text_tokens": 0, "audio_tokens": 4}
            assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
            limits = (await talk.until(END))[-1]["rate_limits"][0]
            assert limits["remaining"] == limits["limit"] - usage["total_tokens"]

    run(test)


def test_a_reply_to_nothing_new_is_possible() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(CREATE)
            await talk.until(END)
            await talk.send(CREATE)
            await talk.until(END)
            for request, turns in zip(talk.engine.requests, (1, 2), strict=True):
                assert len(request.conversation.turns) == turns and request.conversation.turns[-1].role == "user"

    run(test)


def test_the_engine_is_told_what_was_played() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go"] * 20, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            engine.step(5)
            await talk.until("response.output_audio.delta", 5)
            for passed, played in itertools.pairwise([0.0, 0.4, 0.8, 5.0]):
                await talk.move(played - passed)
                assert engine.handles[0].played_s == pytest.approx(min(played, 1.0))

    run(test)


def test_steps_and_times_are_told_to_the_page_alone() -> None:
    async def test() -> None:
        async with Talk(query="model=fac-fake&events=fac") as talk:
            await talk.send(append(speech(0.3)), append(silence(0.5)))
            await talk.until(END)
            steps, (timing,) = talk.of("fac.step"), talk.of("fac.timing")
            assert [step["text"] for step in steps] == ["this", " is", " reply", " 1"]
            assert [step["step"] for step in steps] == [0, 1, 2, 3] and len(steps[0]["units"]) == 5
            assert timing["queued"] == 1 and timing["prefill"] == 10 and timing["speech_stopped"] == 0
            assert talk.of("fac.vad")[0]["probability"] == 1.0
        async with Talk() as talk:
            await talk.send(user("hi"), CREATE)
            await talk.until(END)
            assert not [kind for kind in talk.types() if kind.startswith("fac")]

    run(test)
