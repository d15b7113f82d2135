"""Responses that are cancelled, fail, or run beside the conversation."""

from typing import Any

import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, run, user

from fac_jax.serving.talk import Reason
from fac_jax.text.prompts import SYSTEM_TEXT

CREATE = {"type": "response.create"}


def test_nothing_follows_a_cancelled_response_and_the_next_one_waits_for_its_end() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go", " on"] * 9, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            engine.step(2)
            await talk.until("response.output_audio.delta", 2)
            engine.mute = True  # the engine says nothing of the end yet
            await talk.send({"type": "response.cancel", "event_id": "x"})
            done = (await talk.until("response.done"))[-1]["response"]
            assert (done["status"], done["status_details"]) == (
                "cancelled",
                {"type": "cancelled", "reason": "client_cancelled"},
            )
            assert (
                done["output"][0]["status"] == "incomplete" and done["output"][0]["content"][0]["transcript"] == "go on"
            )
            engine.step(3)
            await talk.send(user("next"), CREATE)
            await talk.until("response.created")
            assert len(engine.requests) == 1, "the next prompt needs the ids of the first reply"
            assert not [e for e in talk.events[-3:] if e["type"].endswith(".delta")]

    run(test)


def test_the_ids_of_a_cancelled_reply_are_in_the_next_prompt() -> None:
    async def test() -> None:
        engine = FakeEngine(lambda *_: ["go", " on"] * 9, by_hand=True)
        async with Talk(engine) as talk:
            await talk.send(user("hi"), CREATE)
            engine.step(2)
            await talk.until("response.output_audio.delta", 2)
            await talk.send({"type": "response.cancel"}, user("next"), CREATE)
            assert engine.handles[0].ended == "cancelled"
            reply = engine.requests[1].conversation.turns[1].generated
            assert reply is not None and engine.text_of(reply) == "go on"

    run(test)


def test_a_response_can_be_cancelled_before_its_first_step() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(user("hi"), CREATE, {"type": "response.cancel"})
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status"] == "cancelled" and done["output"] == []
            await talk.send(CREATE)
            talk.engine.finish()
            assert (await talk.until("response.done"))[-1]["response"]["status"] == "completed"

    run(test)


def test_a_response_outside_of_the_conversation_runs_beside_it_and_is_forgotten() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            await talk.send(user("first", id="item_a"), user("second", id="item_b"), CREATE)
            system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Sum up."}]}
            aside = {
                "conversation": "none",
                "output_modalities": ["text"],
                "metadata": {"topic": "sum"},
                "input": [system, {"type": "item_reference", "id": "item_b"}],
            }
            await talk.send({**CREATE, "response": aside})
            main, other = talk.of("response.created")
            assert main["response"]["conversation_id"] and other["response"]["conversation_id"] is None
            assert other["response"]["metadata"] == {"topic": "sum"}
            conversation = talk.engine.requests[1].conversation
            assert [turn.text for turn in conversation.turns] == ["second"]
            assert conversation.system == f"{SYSTEM_TEXT}\nSum up." and talk.engine.requests[1].session is None
            talk.engine.finish()
            await talk.until("response.done", 2)
            mine = [e for e in talk.events if e.get("response_id") == other["response"]["id"]]
            item_id = next(e["item"]["id"] for e in mine if e["type"] == "response.output_item.added")
            assert item_id not in [e["item"]["id"] for e in talk.of("conversation.item.added")]
            gone = await talk.error({"type": "conversation.item.retrieve", "item_id": item_id})
            assert gone["code"] == "item_retrieve_invalid_item_id"

    run(test)


def test_only_a_few_responses_run_beside_the_conversation() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(by_hand=True)) as talk:
            aside = {**CREATE, "response": {"conversation": "none", "input": []}}
            await talk.send(*[aside] * 4)
            assert (await talk.error(aside))["code"] == "rate_limit_exceeded"
            await talk.send(CREATE)
            assert len(talk.of("response.created")) == 5

    run(test)


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("limit", "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}),
        ("full", "failed", "server_full"),
        ("failed", "failed", "engine_failed"),
    ],
)
def test_a_reply_that_does_not_end_well_says_why_and_the_session_goes_on(
    reason: Reason, status: str, details: Any
) -> None:
    async def test() -> None:
        engine = FakeEngine()
        engine.full, engine.fail_at = reason == "full", 1 if reason == "failed" else None
        async with Talk(engine) as talk:
            response = {"max_output_tokens": 2} if reason == "limit" else {}
            await talk.send(user("hi"), {**CREATE, "response": response})
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status"] == status
            if isinstance(details, dict):
                assert done["status_details"] == details and done["output"][0]["status"] == "incomplete"
            else:
                assert done["status_details"]["error"]["code"] == details
                assert "stopped" not in done["status_details"]["error"]["message"], "the log says what failed"
            engine.full, engine.fail_at = False, None
            await talk.send(CREATE)
            assert (await talk.until("response.done"))[-1]["response"]["status"] == "completed"

    run(test)
