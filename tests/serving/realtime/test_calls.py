"""Function calls: what a client hears of them, and how they come back into the prompt."""

import json
from typing import Any

import pytest
from fake_engine import FakeEngine
from realtime_talk import RATE, Talk, audio_of, run, user

from fac_jax.serving.prompting import call_start, call_text
from fac_jax.text.chat import with_tools
from fac_jax.text.prompts import SYSTEM_JOINT

CREATE = {"type": "response.create"}
END = "rate_limits.updated"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
OTHER = ({"type": "function", "name": "other_tool"},)
CALL = ["<tool_call>", '\n{"name": "get_weather", ', '"arguments": {"city": "Paris"}}\n', "</tool_call>"]


def tools(*more: Any) -> dict[str, Any]:
    return {"type": "session.update", "session": {"type": "realtime", "tools": [TOOL, *more]}}


def test_a_function_call_is_neither_spoken_nor_transcribed() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda r, n: CALL if n == 1 else ["fine"])) as talk:
            await talk.send(tools(), user("how is the weather"), CREATE)
            events = await talk.until(END)
            assert not any("audio" in e["type"] or "content_part" in e["type"] for e in events)
            done = talk.of("response.function_call_arguments.done")[0]
            assert done["name"] == "get_weather" and json.loads(done["arguments"]) == {"city": "Paris"}
            item = talk.of("response.done")[0]["response"]["output"][0]
            assert item["type"] == "function_call" and item["status"] == "completed"
            function = {key: TOOL[key] for key in ("name", "description", "parameters")}
            offered = [{"type": "function", "function": function}]
            assert talk.engine.requests[0].conversation.system == with_tools(SYSTEM_JOINT, offered)
            output = {"type": "function_call_output", "call_id": item["call_id"], "output": "sunny"}
            await talk.send({"type": "conversation.item.create", "item": output}, CREATE)
            await talk.until(END)
            turns = talk.engine.requests[1].conversation.turns
            assert [turn.role for turn in turns] == ["user", "assistant", "user"]
            assert turns[2].text == "<tool_response>\nsunny\n</tool_response>"

    run(test)


def test_words_before_a_call_are_spoken_and_words_of_the_call_are_not() -> None:
    async def test() -> None:
        words = ["Let", " me", " look.", *CALL, ""]
        async with Talk(FakeEngine(lambda *_: words)) as talk:
            await talk.send(tools(), user("how is the weather"), CREATE)
            await talk.until(END)
            message, call = talk.of("response.done")[0]["response"]["output"]
            assert message["content"][0]["transcript"] == "Let me look." and call["name"] == "get_weather"
            assert len(audio_of(talk.events)) == (3 + 1) * 0.2 * RATE, "three steps before the call, one behind it"
            indices = {e["output_index"] for e in talk.events if "function_call" in e["type"]}
            assert indices == {1}

    run(test)


@pytest.mark.parametrize(
    ("text", "name", "arguments", "status"),
    [
        (
            '{"name": "get_weather", "arguments": {"city": ',
            "get_weather",
            '{"name": "get_weather", "arguments": {"city": ',
            "completed",
        ),
        ("nonsense", "", "nonsense", "completed"),
    ],
)
def test_a_call_that_is_no_json_is_passed_on_as_text(text: str, name: str, arguments: str, status: str) -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: ["<tool_call>", text, "</tool_call>"])) as talk:
            await talk.send(tools(), user("hi"), CREATE)
            await talk.until(END)
            item = talk.of("response.done")[0]["response"]["output"][0]
            assert (item["name"], item["arguments"], item["status"]) == (name, arguments, status)

    run(test)


def test_without_tools_a_call_is_text() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: CALL)) as talk:
            await talk.send(
                tools(), user("hi"), {**CREATE, "response": {"tool_choice": "none", "output_modalities": ["text"]}}
            )
            await talk.until(END)
            assert talk.of("response.output_text.done")[0]["text"] == "".join(CALL)
            assert "get_weather" not in talk.engine.requests[0].conversation.system

    run(test)


def test_a_named_tool_is_the_only_one_that_is_offered() -> None:
    async def test() -> None:
        async with Talk() as talk:
            choice = {"type": "function", "name": "get_weather"}
            await talk.send(tools({"type": "function", "name": "other_tool"}), user("hi"))
            await talk.send({**CREATE, "response": {"tool_choice": choice}})
            system = talk.engine.requests[0].conversation.system
            assert "other_tool" not in system and "get_weather" in system

    run(test)


@pytest.mark.parametrize(
    ("choice", "more", "start"),
    [
        ({"type": "function", "name": "get_weather"}, OTHER, '<tool_call>\n{"name": "get_weather", "arguments":'),
        ("required", (), '<tool_call>\n{"name": "get_weather", "arguments":'),
        ("required", OTHER, '<tool_call>\n{"name":'),
    ],
)
def test_a_call_that_is_asked_for_is_begun_for_the_model(choice: Any, more: Any, start: str) -> None:
    whole = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>'

    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: [whole.removeprefix(start)])) as talk:
            await talk.send(tools(*more), user("hi"))
            await talk.ask({**CREATE, "response": {"tool_choice": choice}}, END)
            (asked,) = talk.engine.requests
            assert asked.forced == start and not asked.spoken
            (call,) = talk.of("response.done")[0]["response"]["output"]
            assert (call["name"], json.loads(call["arguments"])) == ("get_weather", {"city": "Paris"})
            await talk.ask({**CREATE}, END)
            assert talk.engine.requests[1].forced == "" and talk.engine.requests[1].spoken

    run(test)


def test_a_call_begins_as_models_write_it() -> None:
    whole = call_text("f", '{"a": 1}')
    offered = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    for must_call, tools in (("f", offered), ("", offered), ("", offered[:1])):
        assert whole.startswith(call_start(tools, must_call)) and call_start(tools, must_call)
    assert call_start(offered, None) == call_start([], "") == ""


def test_a_client_that_brings_its_history_gets_calls_back_into_the_prompt() -> None:
    async def test() -> None:
        async with Talk() as talk:
            items = [
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "One moment."}]},
                {"type": "function_call", "name": "f", "call_id": "c1", "arguments": '{"a":1}'},
                {"type": "function_call", "name": "g", "call_id": "c2", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c1", "output": "1"},
                {"type": "function_call_output", "call_id": "c2", "output": "2"},
            ]
            await talk.send(user("hi"), *[{"type": "conversation.item.create", "item": item} for item in items], CREATE)
            turns = talk.engine.requests[0].conversation.turns
            calls = "\n".join(["One moment.", call_text("f", '{"a":1}'), call_text("g", "{}")])
            outputs = "\n".join(f"<tool_response>\n{n}\n</tool_response>" for n in (1, 2))
            assert [(turn.role, turn.text) for turn in turns] == [
                ("user", "hi"),
                ("assistant", calls),
                ("user", outputs),
            ]

    run(test)


def test_a_reply_with_a_call_is_one_turn_of_the_prompt_unless_a_part_of_it_is_gone() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda r, n: ["Let me look.", *CALL] if n == 1 else ["fine"])) as talk:
            await talk.send(tools(), user("how is the weather"), CREATE)
            await talk.until(END)
            message, call = talk.of("response.done")[0]["response"]["output"]
            output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
            await talk.send({"type": "conversation.item.create", "item": output})
            spoken = call_text(call["name"], call["arguments"])
            cut = {
                "type": "conversation.item.truncate",
                "item_id": message["id"],
                "content_index": 0,
                "audio_end_ms": 0,
            }
            gone = {"type": "conversation.item.delete", "item_id": message["id"]}
            for change in (None, cut, gone):
                await talk.send(*[] if change is None else [change], CREATE)
                await talk.until(END)
                _, reply, given = talk.engine.requests[-1].conversation.turns[:3]
                assert (reply.role, given.text) == ("assistant", "<tool_response>\nsunny\n</tool_response>")
                if change is None:
                    assert reply.generated is not None
                else:
                    assert reply.generated is None and reply.text == spoken, "nothing of the words was heard"

    run(test)
