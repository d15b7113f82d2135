"""What a talk may hold: the audio of a turn and of an item, and items."""

import base64

import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, append, manual, message, run, silence, speech, user

from fac_jax.serving.config import Limits


def test_the_tail_of_a_buffer_that_is_too_long_is_dropped() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(turn_s=1.0)) as talk:
            await talk.send(manual(), append(speech(0.7)))
            error = await talk.error(append(speech(0.7)))
            assert error["code"] == "input_audio_buffer_too_long"
            await talk.send({"type": "input_audio_buffer.commit"})
            assert len(talk.engine.heard[0].wave) == pytest.approx(16_000, abs=800)

    run(test)


def test_a_turn_that_is_too_long_is_cut_without_an_error_where_a_detector_listens() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(turn_s=1.0), engine=FakeEngine(by_hand=True)) as talk:
            await talk.send(append(speech(1.5)), append(silence(0.6)))
            assert not talk.of("error") and len(talk.of("input_audio_buffer.committed")) == 2
            waves = [len(heard.wave) / 16_000 for heard in talk.engine.heard]
            assert waves == pytest.approx([1.0, 1.0], abs=0.25)

    run(test)


def test_too_many_items_are_refused() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(items=2)) as talk:
            await talk.send(user("one"), user("two"))
            assert (await talk.error(user("three")))["code"] == "item_create_limit_exceeded"
            await talk.send({"type": "response.create"})  # what is said in the talk itself drops the oldest
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status"] == "completed"

    run(test)


def test_user_audio_of_an_item_has_the_limit_of_a_turn() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(turn_s=1.0)) as talk:
            part = {"type": "input_audio", "audio": base64.b64encode(bytes(2 * 24_001)).decode()}
            assert (await talk.error(message("user", part)))["param"] == "item.content[0].audio"

    run(test)
