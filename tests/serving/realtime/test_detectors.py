"""A detector that finds turns, beside what a client commits by hand."""

from typing import Any

import numpy as np
import pytest
from energy_turns import EnergyTurns
from realtime_talk import Talk, append, detection, manual, run, silence, speech, user

from fac_jax.serving.detect.base import TurnSettings

CREATE = {"type": "response.create"}
COMMIT = {"type": "input_audio_buffer.commit"}
CLEAR = {"type": "input_audio_buffer.clear"}
BUFFER = "input_audio_buffer"
END = "rate_limits.updated"


def test_a_detector_finds_turns_and_the_model_answers() -> None:
    async def test() -> None:
        async with Talk() as talk:
            wave = np.concatenate([silence(1.0), speech(0.6), silence(1.0)])
            for begin in range(0, len(wave), 480):
                await talk.send(append(wave[begin : begin + 480]))
            await talk.until(END)
            started, stopped = talk.of(f"{BUFFER}.speech_started")[0], talk.of(f"{BUFFER}.speech_stopped")[0]
            assert started["audio_start_ms"] == pytest.approx(700, abs=20)
            assert stopped["audio_end_ms"] == pytest.approx(2100, abs=60)
            committed, (item, reply) = talk.of(f"{BUFFER}.committed")[0], talk.of("conversation.item.added")
            assert started["item_id"] == stopped["item_id"] == committed["item_id"] == item["item"]["id"]
            assert reply["previous_item_id"] == item["item"]["id"] and item["previous_item_id"] is None
            kinds = [kind for kind in talk.types() if kind.startswith((BUFFER, "conversation", "response.created"))]
            assert kinds[:6] == [
                f"{BUFFER}.speech_started",
                f"{BUFFER}.speech_stopped",
                f"{BUFFER}.committed",
                "conversation.item.added",
                "conversation.item.done",
                "response.created",
            ]
            heard = talk.engine.heard[0].wave
            span = stopped["audio_end_ms"] - started["audio_start_ms"]
            assert len(heard) / 16 == pytest.approx(span, abs=1)
            first = np.argmax(np.abs(heard) > 0.01) / 16
            assert started["audio_start_ms"] + first == pytest.approx(1000, abs=5), "the padding is silence"

    run(test)


def test_a_detector_is_told_when_the_model_is_heard() -> None:
    made: list[EnergyTurns] = []

    def make(settings: TurnSettings) -> EnergyTurns:
        made.append(EnergyTurns(settings))
        return made[-1]

    async def test() -> None:
        async with Talk(detector=make) as talk:
            await talk.send(append(silence(0.1)), user("hi"), CREATE)
            await talk.until(END)
            await talk.send(append(silence(0.1)))
            await talk.move(0.9)  # the reply has 0.8 s
            await talk.send(append(silence(0.1)))
            assert made[0].heard == [False, True, False]

    run(test)


@pytest.mark.parametrize("by_hand", [COMMIT, CLEAR])
def test_a_commit_or_clear_by_hand_ends_the_turn_of_the_detector(by_hand: dict[str, Any]) -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(append(speech(0.3)), append(silence(0.1)), by_hand, append(silence(0.6)))
            assert not talk.of(f"{BUFFER}.speech_stopped") and not talk.of("response.created")
            assert talk.engine.heard[0].state == ("closed" if by_hand is COMMIT else "dropped")
            started = talk.of(f"{BUFFER}.speech_started")[0]
            if by_hand is COMMIT:
                assert talk.of(f"{BUFFER}.committed")[0]["item_id"] == started["item_id"]
            await talk.send(append(speech(0.3)), append(silence(0.6)))
            await talk.until("response.created")

    run(test)


def test_a_commit_by_hand_takes_what_the_detector_did_not_hear() -> None:
    async def test() -> None:
        async with Talk() as talk:
            quiet = speech(0.5) * 0.01
            await talk.send(append(quiet), COMMIT)
            assert len(talk.engine.heard[0].wave) == 8000

    run(test)


def test_a_detector_can_be_turned_off_within_a_turn() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(append(speech(0.3)), manual(), append(silence(0.9)))
            assert not talk.of(f"{BUFFER}.speech_stopped")
            await talk.send(COMMIT)
            assert len(talk.engine.heard[0].wave) == pytest.approx(1.2 * 16_000, abs=2)
            await talk.send(detection(), append(speech(0.3)), append(silence(0.6)))
            stopped = await talk.until(f"{BUFFER}.speech_stopped")
            assert stopped[-1]["audio_end_ms"] == pytest.approx(1200 + 300 + 500, abs=60), "ms count all audio"

    run(test)


def test_new_settings_of_the_detector_do_not_lose_a_turn() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(append(speech(0.3)), detection(silence_duration_ms=2000), append(silence(0.6)))
            await talk.until(f"{BUFFER}.speech_stopped")
            await talk.send(append(speech(0.3)), append(silence(0.6)))
            assert len(talk.of(f"{BUFFER}.speech_stopped")) == 1, "the next turn goes by the new settings"
            await talk.send(append(silence(1.5)))
            assert len(talk.of(f"{BUFFER}.speech_stopped")) == 2

    run(test)


def test_a_detector_that_is_turned_on_takes_over_what_was_not_committed() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), append(speech(0.3)), detection(), append(silence(0.3)), COMMIT)
            assert [heard.state for heard in talk.engine.heard] == ["dropped", "closed"]
            assert len(talk.engine.heard[1].wave) == pytest.approx(0.6 * 16_000, abs=2)

    run(test)
