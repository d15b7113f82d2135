"""What goes into a prompt: the cut of a reply that was not heard to its end, edited histories, and what has no room."""

from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, append, manual, run, speech, user

from fac_jax.text.prompts import SYSTEM_JOINT

CREATE = {"type": "response.create"}
COMMIT = {"type": "input_audio_buffer.commit"}
END = "rate_limits.updated"
WORDS = ["a", " b", " c", " d", " e"]


def truncate(item_id: str, ms: int) -> dict[str, Any]:
    return {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": ms}


async def replied(talk: Talk, text: str = "hi") -> str:
    """Asks, waits for the whole reply, and returns the id of its item."""
    await talk.send(user(text), CREATE)
    await talk.until(END)
    return talk.of("response.done")[-1]["response"]["output"][0]["id"]


async def retrieved(talk: Talk, item_id: str) -> Any:
    got = await talk.ask({"type": "conversation.item.retrieve", "item_id": item_id}, "conversation.item.retrieved")
    return got[-1]["item"]


@pytest.mark.parametrize(
    ("ms", "told", "words"),
    [(0, 0, 0), (1, 1, 1), (200, 200, 1), (201, 201, 2), (999, 999, 5), (1000, 1000, 5), (1200, 1000, 5)],
)
def test_a_reply_is_cut_to_the_groups_that_were_begun(ms: int, told: int, words: int) -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: WORDS)) as talk:
            item_id = await replied(talk)
            answer = await talk.ask(truncate(item_id, ms), "conversation.item.truncated")
            assert answer[-1]["audio_end_ms"] == told
            assert (await retrieved(talk, item_id))["content"][0]["transcript"] == "".join(WORDS[:words])
            await replied(talk, "next")
            reply = talk.engine.requests[1].conversation.turns[1].generated
            assert reply is not None and talk.engine.text_of(reply) == "".join(WORDS[:words])
            assert len(reply.groups) == words

    run(test)


@pytest.mark.parametrize(("ms", "content_index"), [(1201, 0), (-1, 0), (100, 1)])
def test_more_than_was_sent_cannot_have_been_heard(ms: int, content_index: int) -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: WORDS)) as talk:
            item_id = await replied(talk)
            error = await talk.error({**truncate(item_id, ms), "content_index": content_index})
            assert error["code"] == "invalid_value"
            assert error["param"] == ("content_index" if content_index else "audio_end_ms")

    run(test)


def test_a_reply_that_was_cut_cannot_grow_again() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: WORDS)) as talk:
            item_id = await replied(talk)
            await talk.send(truncate(item_id, 300), truncate(item_id, 450))
            assert [event["audio_end_ms"] for event in talk.of("conversation.item.truncated")] == [300, 300]
            assert (await talk.error(truncate(item_id, 900)))["param"] == "audio_end_ms"

    run(test)


def test_replies_in_text_and_texts_of_clients_are_not_truncated() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(user("hi"), {**CREATE, "response": {"output_modalities": ["text"]}})
            await talk.until(END)
            text = talk.of("response.done")[0]["response"]["output"][0]["id"]
            assert (await talk.error(truncate(text, 0)))["param"] == "item_id"
            content = [{"type": "output_audio", "transcript": "hello"}]
            await talk.send(
                {
                    "type": "conversation.item.create",
                    "item": {"type": "message", "role": "assistant", "content": content, "id": "item_a"},
                }
            )
            assert (await talk.error(truncate("item_a", 0)))["param"] == "item_id"

    run(test)


def test_a_cut_waits_for_the_end_of_a_reply_that_is_being_stopped() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: WORDS, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            engine.step(3)
            await talk.until("response.output_audio.delta", 3)
            item_id = talk.of("response.output_item.added")[0]["item"]["id"]
            await talk.send({"type": "response.cancel"}, truncate(item_id, 250), user("next"), CREATE)
            reply = engine.requests[1].conversation.turns[1].generated
            assert reply is not None and engine.text_of(reply) == "a b"

    run(test)


def test_a_deleted_reply_is_not_in_the_prompt() -> None:
    async def test() -> None:
        async with Talk() as talk:
            item_id = await replied(talk)
            await talk.send({"type": "conversation.item.delete", "item_id": item_id})
            await replied(talk, "next")
            assert [turn.text for turn in talk.engine.requests[1].conversation.turns] == ["hi", "next"]
            assert talk.of("conversation.item.added")[2]["previous_item_id"] != item_id

    run(test)


def test_a_deleted_turn_of_the_user_does_not_hold_a_response_up() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), user("text"), append(speech(0.3)))
            for event in (COMMIT, CREATE):
                await talk.socket.incoming.put({"type": "websocket.receive", "text": __import__("json").dumps(event)})
            await talk.until("response.created")
            item_id = talk.of("input_audio_buffer.committed")[0]["item_id"]
            await talk.send({"type": "conversation.item.delete", "item_id": item_id})
            await talk.until(END)

    run(test)


def test_items_are_read_in_the_order_of_the_conversation() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(user("two", id="b"), {**user("one", id="a"), "previous_item_id": "root"})
            await talk.send({**user("one and a half"), "previous_item_id": "a"})
            system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]}
            await talk.send({"type": "conversation.item.create", "item": system}, CREATE)
            conversation = talk.engine.requests[0].conversation
            assert [turn.text for turn in conversation.turns] == ["one", "one and a half", "two"]
            assert conversation.system == f"{SYSTEM_JOINT} Be brief."
            befores = [event["previous_item_id"] for event in talk.of("conversation.item.added")[:3]]
            assert befores == [None, None, "a"]

    run(test)


def test_texts_around_audio_are_of_one_turn() -> None:
    async def test() -> None:
        async with Talk() as talk:
            audio = append(speech(0.2))["audio"]
            content = [
                {"type": "input_text", "text": "before"},
                {"type": "input_audio", "audio": audio, "transcript": "said"},
                {"type": "input_text", "text": "after"},
                {"type": "input_audio", "audio": audio},
            ]
            item = {"type": "message", "role": "user", "content": content}
            await talk.send({"type": "conversation.item.create", "item": item}, CREATE)
            one, two = talk.engine.requests[0].conversation.turns
            assert (one.lead, one.text, two.lead, two.text) == ("before", "after", "", "")
            assert one.wave is not None and two.wave is not None
            np.testing.assert_array_equal(one.wave, two.wave)

    run(test)


LONG = " ".join(["word"] * 30)  # 33 positions of the engine of tests


async def talk_of_four(talk: Talk, truncation: Any) -> None:
    session = {"type": "realtime", "truncation": truncation, "output_modalities": ["text"], "max_output_tokens": 10}
    await talk.send({"type": "session.update", "session": session})
    for number in range(4):
        await replied(talk, f"{number} {LONG}")


def first_words(request: Any) -> list[str]:
    return [turn.text.split()[0] for turn in request.conversation.turns if turn.role == "user"]


def test_the_oldest_exchanges_make_room() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=130)) as talk:
            await talk_of_four(talk, "auto")
            assert [first_words(request) for request in talk.engine.requests] == [
                ["0"],
                ["0", "1"],
                ["1", "2"],
                ["2", "3"],
            ]
            assert all(request.conversation.turns[0].role == "user" for request in talk.engine.requests)
            assert len(talk.of("conversation.item.added")) == 8 and not talk.of("conversation.item.deleted")

    run(test)


def test_a_ratio_makes_room_for_more_than_one_turn() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=130)) as talk:
            await talk_of_four(talk, {"type": "retention_ratio", "retention_ratio": 0.5})
            assert [first_words(request) for request in talk.engine.requests] == [["0"], ["0", "1"], ["2"], ["2", "3"]]

    run(test)


def test_a_full_context_fails_the_response_if_nothing_may_be_dropped() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=130)) as talk:
            session = {"type": "realtime", "truncation": "disabled", "max_output_tokens": 10}
            await talk.send({"type": "session.update", "session": session}, *[user(LONG)] * 4, CREATE)
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status"] == "failed"
            assert done["status_details"]["error"]["code"] == "context_length_exceeded"
            assert not talk.engine.requests
            await talk.send({"type": "session.update", "session": {"type": "realtime", "truncation": "auto"}}, CREATE)
            assert (await talk.until("response.done"))[-1]["response"]["status"] == "completed"

    run(test)


def test_a_message_that_is_longer_than_the_context_fails_its_response() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=130)) as talk:
            await talk.send(user("hi"), user(" ".join([LONG] * 5)), CREATE)
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status_details"]["error"]["code"] == "context_length_exceeded"
            await talk.alive()

    run(test)


def test_a_call_is_dropped_with_its_output() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=130)) as talk:
            call = {"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"}
            output = {"type": "function_call_output", "call_id": "c", "output": LONG}
            items = [{"type": "conversation.item.create", "item": item} for item in (call, output)]
            session = {"type": "realtime", "max_output_tokens": 10}
            await talk.send(
                {"type": "session.update", "session": session}, user(LONG), *items, user(f"new {LONG}"), CREATE
            )
            assert [turn.text.split()[0] for turn in talk.engine.requests[0].conversation.turns] == ["new"]

    run(test)


def test_without_a_limit_a_reply_gets_what_the_prompt_leaves() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(context=130)) as talk:
            await talk.send(user(LONG), CREATE)
            (request,) = talk.engine.requests
            assert request.limit == 130 - talk.engine.positions(request.conversation)

    run(test)


def test_a_reply_that_is_cut_while_it_runs_goes_on_and_is_cut_in_the_next_prompt() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: WORDS, by_hand=True)
        async with Talk(engine) as talk:
            turns = {"turn_detection": {"interrupt_response": False}}
            await talk.send({"type": "session.update", "session": {"type": "realtime", "audio": {"input": turns}}})
            await talk.send(user("hi"), CREATE)
            engine.step(2)
            await talk.until("response.output_audio.delta", 2)
            await talk.send(truncate(talk.of("response.output_item.added")[0]["item"]["id"], 100))
            await talk.send(append(speech(0.3)), append(np.zeros(14_400, np.float32)))
            engine.finish()
            await talk.until("response.created")
            await talk.settle()
            assert talk.of("response.output_audio_transcript.done")[0]["transcript"] == "".join(WORDS)
            reply = engine.requests[1].conversation.turns[1].generated
            assert reply is not None and engine.text_of(reply) == "a"

    run(test)
