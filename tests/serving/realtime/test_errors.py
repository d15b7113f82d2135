"""Every refusal of docs/serving.md: its code and its param; the session goes on after each of them."""

import json
from typing import Any

import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, audio_in, item, message, run, update, user

APPEND = "input_audio_buffer.append"
CREATE_ITEM = "conversation.item.create"


MISSING, TYPE, VALUE = "missing_required_parameter", "invalid_type", "invalid_value"
TEXT = {"type": "input_text", "text": "hi"}

NO_JSON = {
    "no JSON": "{not json",
    "nothing": "",
    "an array": "[1, 2]",
    "a number": "3",
    "a binary frame": b"\x00\x01\x02",
    "nested 33 deep": '{"a":' * 33 + "1" + "}" * 33,
    "nested very deep": "[" * 100_000,
    "NaN": '{"type": NaN}',
    "infinity": '{"type": "response.cancel", "x": -Infinity}',
    "a key twice": '{"type": "response.cancel", "type": "response.cancel"}',
    "half a character": '{"type": "response.cancel", "event_id": "\\ud800"}',
    "a huge integer": '{"type": ' + "9" * 5000 + "}",
}

REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "no type": ({"event_id": "x"}, VALUE, "type"),
    "an unknown type": ({"type": "no.such.event"}, VALUE, "type"),
    "a type of another type": ({"type": ["session.update"]}, VALUE, "type"),
    "for WebRTC only": ({"type": "output_audio_buffer.clear"}, VALUE, "type"),
    "an event id of another type": ({"type": "response.cancel", "event_id": 3}, TYPE, "event_id"),
    "no audio": ({"type": APPEND}, MISSING, "audio"),
    "audio of another type": ({"type": APPEND, "audio": 3}, TYPE, "audio"),
    "bad base64": ({"type": APPEND, "audio": "***"}, VALUE, "audio"),
    "base64 beyond ASCII": ({"type": APPEND, "audio": "é"}, VALUE, "audio"),
    "odd bytes": ({"type": APPEND, "audio": "AAEC"}, VALUE, "audio"),
    "an empty commit": ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
    "retrieve of nothing": (
        {"type": "conversation.item.retrieve", "item_id": "none"},
        "item_retrieve_invalid_item_id",
        "item_id",
    ),
    "delete of nothing": (
        {"type": "conversation.item.delete", "item_id": "none"},
        "item_delete_invalid_item_id",
        "item_id",
    ),
    "truncate of nothing": (
        {"type": "conversation.item.truncate", "item_id": "none", "content_index": 0, "audio_end_ms": 0},
        "item_truncate_invalid_item_id",
        "item_id",
    ),
    "truncate without a time": (
        {"type": "conversation.item.truncate", "item_id": "none", "content_index": 0},
        MISSING,
        "audio_end_ms",
    ),
    "truncate of a user": (
        {"type": "conversation.item.truncate", "item_id": "item_user", "content_index": 0, "audio_end_ms": 0},
        VALUE,
        "item_id",
    ),
    "an id twice": (
        item(id="item_user", type="message", role="user", content=[TEXT]),
        "item_create_duplicate_item_id",
        "item.id",
    ),
    "an unknown item before": (
        {**message("user", TEXT), "previous_item_id": "none"},
        "item_create_invalid_previous_item_id",
        "previous_item_id",
    ),
    "no item": ({"type": CREATE_ITEM}, MISSING, "item"),
    "an item of another type": ({"type": CREATE_ITEM, "item": "hello"}, TYPE, "item"),
    "an unknown kind of item": (item(type="mcp_call"), VALUE, "item.type"),
    "a reference as an item": (item(type="item_reference", id="item_user"), VALUE, "item.type"),
    "no role": (item(type="message", content=[TEXT]), MISSING, "item.role"),
    "no content": (item(type="message", role="user"), MISSING, "item.content"),
    "a part without text": (message("user", {"type": "input_text"}), MISSING, "item.content[0].text"),
    "a part of another role": (
        message("system", TEXT, {"type": "output_text", "text": "x"}),
        VALUE,
        "item.content[1].type",
    ),
    "an image": (message("user", {"type": "input_image", "image_url": "x"}), VALUE, "item.content[0].type"),
    "bad audio in an item": (message("user", {"type": "input_audio", "audio": "*"}), VALUE, "item.content[0].audio"),
    "a call without a name": (item(type="function_call", arguments="{}"), MISSING, "item.name"),
    "an output of no call": (item(type="function_call_output", output="x"), MISSING, "item.call_id"),
    "a text that is too long": (message("user", {"type": "input_text", "text": "é" * 17_000}), VALUE, "item"),
    "a cancel of nothing": ({"type": "response.cancel"}, "response_cancel_not_active", None),
    "a cancel of an unknown one": (
        {"type": "response.cancel", "response_id": "resp_none"},
        "response_cancel_not_active",
        None,
    ),
    "metadata of another type": (
        {"type": "response.create", "response": {"metadata": {"a": 1}}},
        TYPE,
        "response.metadata.a",
    ),
    "an unknown item in the input": (
        {"type": "response.create", "response": {"input": [{"type": "item_reference", "id": "none"}]}},
        VALUE,
        "response.input[0].id",
    ),
    "a transcription session": (
        {"type": "session.update", "session": {"type": "transcription"}},
        "unsupported_session_type",
        "session.type",
    ),
    "no session": ({"type": "session.update"}, MISSING, "session"),
    "text and audio": (update(output_modalities=["text", "audio"]), VALUE, "session.output_modalities"),
    "an unknown voice": (update(audio={"output": {"voice": "marin"}}), VALUE, "session.audio.output.voice"),
    "another speed": (update(audio={"output": {"speed": 1.5}}), VALUE, "session.audio.output.speed"),
    "another rate": (
        audio_in(format={"type": "audio/pcm", "rate": 16000}),
        VALUE,
        "session.audio.input.format.rate",
    ),
    "a beta format": (audio_in(format="pcm16"), TYPE, "session.audio.input.format"),
    "a threshold above 1": (
        audio_in(turn_detection={"threshold": 3}),
        VALUE,
        "session.audio.input.turn_detection.threshold",
    ),
    "a threshold in words": (
        audio_in(turn_detection={"threshold": "0.5"}),
        TYPE,
        "session.audio.input.turn_detection.threshold",
    ),
    "an unknown detection": (audio_in(turn_detection={"type": "mine"}), VALUE, "session.audio.input.turn_detection"),
    "no tokens": (update(max_output_tokens=0), VALUE, "session.max_output_tokens"),
    "too many tokens": (update(max_output_tokens=4097), VALUE, "session.max_output_tokens"),
    "a foreign tool": (update(tools=[{"type": "mcp", "server_url": "x"}]), VALUE, "session.tools[0].type"),
    "a tool without a name": (update(tools=[{"type": "function"}]), MISSING, "session.tools[0].name"),
    "tools that are too long": (
        update(tools=[{"type": "function", "name": "f", "description": "x" * 70_000}]),
        VALUE,
        "session.tools",
    ),
    "a choice that is not there": (update(tool_choice={"type": "function", "name": "f"}), VALUE, "session.tool_choice"),
    "an unknown truncation": (update(truncation="never"), VALUE, "session.truncation"),
}


@pytest.mark.parametrize("what", NO_JSON)
def test_what_is_no_json_object_is_refused(what: str) -> None:
    async def test() -> None:
        async with Talk() as talk:
            error = await talk.error(NO_JSON[what])
            assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "invalid_json", None)

    run(test)


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_event_is_refused(what: str) -> None:
    event, code, param = REFUSED[what]

    async def test() -> None:
        async with Talk() as talk:
            await talk.send(user("hello", id="item_user"))
            error = await talk.error({"event_id": "evt_1", **event})
            assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
            assert error["event_id"] == (None if what.startswith("an event id") else event.get("event_id", "evt_1"))
            if code == "response_cancel_not_active":
                assert error["message"].startswith("Cancellation failed"), "livekit goes by these words"
            session = talk.of("session.updated")[-1]["session"]
            assert session["max_output_tokens"] == "inf" and session["tools"] == [], "nothing was changed"
            assert talk.metrics.errors.labels(code)._value.get() == 1

    run(test)


def test_a_second_response_is_refused() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send({"type": "response.create"})
            error = await talk.error({"type": "response.create", "event_id": "again"})
            assert error["code"] == "conversation_already_has_active_response" and error["event_id"] == "again"
            talk.engine.finish()
            await talk.until("response.done")

    run(test)


def test_five_messages_in_a_row_that_are_no_json_close_the_connection() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(*["{"] * 4)
            await talk.alive()
            await talk.send(*["{"] * 4, json.dumps({"type": "no.such.event"}), *["{"] * 4)
            await talk.alive()
            await talk.send(*["{"] * 5)
            assert await talk.closed() == 1008

    run(test)
