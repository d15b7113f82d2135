"""Settings that a client changes: what is kept, what is cleared, and what is not known."""

from realtime_talk import Talk, audio_in, run, update


def test_the_voice_is_fixed_once_the_model_has_spoken() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(update(audio={"output": {"voice": "other"}}), {"type": "response.create"})
            await talk.until("response.done")
            await talk.send(update(audio={"output": {"voice": "other"}}))
            error = await talk.error(update(audio={"output": {"voice": "default"}}))
            assert error["param"] == "session.audio.output.voice"

    run(test)


def test_what_a_server_does_not_know_is_no_error() -> None:
    async def test() -> None:
        async with Talk() as talk:
            extra = {
                "temperature": 0.8,
                "prompt": {"id": "x"},
                "tracing": "auto",
                "include": [],
                "parallel_tool_calls": True,
            }
            await talk.send(
                update(**extra, model="another", audio={"input": {"noise_reduction": {"type": "near_field"}}})
            )
            session = talk.of("session.updated")[-1]["session"]
            assert session["model"] == "fac-fake" and session["audio"]["input"]["noise_reduction"] is None
            assert not talk.of("error")

    run(test)


def test_nulls_clear_what_can_be_null_and_are_nothing_elsewhere() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(update(instructions="Be kind.", tools=[{"type": "function", "name": "f"}]))
            await talk.send(
                update(instructions=None, tools=None, tracing=None, audio={"input": {"turn_detection": None}})
            )
            session = talk.of("session.updated")[-1]["session"]
            assert session["instructions"] == "Be kind." and len(session["tools"]) == 1
            assert session["audio"]["input"]["turn_detection"] is None
            await talk.send(update(instructions="", tools=[]))
            session = talk.of("session.updated")[-1]["session"]
            assert session["instructions"] == "" and session["tools"] == []

    run(test)


def test_a_detection_of_another_kind_begins_with_its_own_defaults() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(audio_in(turn_detection={"threshold": 0.3}))
            detection = talk.of("session.updated")[-1]["session"]["audio"]["input"]["turn_detection"]
            assert detection["threshold"] == 0.3 and detection["silence_duration_ms"] == 500
            await talk.send(audio_in(turn_detection={"type": "semantic_vad", "eagerness": "high"}))
            detection = talk.of("session.updated")[-1]["session"]["audio"]["input"]["turn_detection"]
            kept = {"type": "semantic_vad", "eagerness": "high", "create_response": True, "interrupt_response": True}
            assert detection == kept

    run(test)
