"""Rounds in which sessions hear together, and what waits for them."""

import asyncio
import json
import threading
from typing import Any

import pytest
from energy_turns import EnergyTurns
from fake_engine import FakeEngine
from realtime_talk import append, silence, speech

from fac_jax.serving.config import ServerConfig
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.realtime.rounds import ROUND_S, Rounds
from fac_jax.serving.realtime.session import Session
from fac_jax.serving.server import Server


def nothing() -> None:
    """Somebody waits without any audio."""


def test_a_round_is_the_same_for_all_who_wait_and_whoever_leaves_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        rounds, asked = Rounds(), list[Any]()
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *call: asked.append(call))
        waiting = [asyncio.ensure_future(rounds.wait(nothing)) for _ in range(3)]
        await asyncio.sleep(0)
        assert [seconds for seconds, *_ in asked] == [ROUND_S] and not any(one.done() for one in waiting)
        waiting[0].cancel()
        asked[0][1](*asked[0][2:])
        await asyncio.gather(*waiting[1:])
        later = asyncio.ensure_future(rounds.wait(nothing))
        await asyncio.sleep(0)
        assert len(asked) == 2 and not later.done()
        asked[1][1](*asked[1][2:])
        await later

    asyncio.run(run())


def test_a_round_ends_when_all_is_heard_in_another_thread() -> None:
    go, heard, offered = threading.Event(), list[str](), list[int]()

    def hear() -> None:
        assert offered == [1] or go.is_set(), "what comes while it hears is of the next round"
        assert go.wait(10)
        heard.append(threading.current_thread().name)

    async def run() -> None:
        rounds = Rounds(hear, 0.0)
        waiting = asyncio.ensure_future(rounds.wait(lambda: offered.append(1)))
        await asyncio.sleep(0.05)
        assert not waiting.done(), "the loop is free, and the round not over"
        later = asyncio.ensure_future(rounds.wait(lambda: offered.append(2)))
        go.set()
        await asyncio.gather(waiting, later)
        assert offered == [1, 2] and len(heard) == 2 and all(name.startswith("detector") for name in heard)

    asyncio.run(run())


def test_what_a_detector_fails_with_comes_to_those_who_wait() -> None:
    def hear() -> None:
        raise OSError("no network")

    async def run() -> None:
        with pytest.raises(OSError, match="no network"):
            await Rounds(hear, 0.0).wait(nothing)

    asyncio.run(run())


def test_audio_waits_for_a_round_and_nothing_more_is_received_before_it_where_it_is_much() -> None:
    server: Any = Server(FakeEngine(), ServerConfig(), EnergyTurns, Metrics())
    session = Session(server, lambda: 0.0, lambda: 0.0, model=FakeEngine.model)
    session.start()

    def told(event: dict[str, Any]) -> list[str]:
        return [out["type"] for outs in session.receive(json.dumps(event)) for out in outs if isinstance(out, dict)]

    assert told(append(speech(0.1))) == [] and session.waiting
    assert session.hear() == [] and session.waiting, "the detector has none of it"
    session.offer()
    assert not session.waiting
    told(append(silence(0.1)))
    assert [out["type"] for out in session.hear() if isinstance(out, dict)] == ["input_audio_buffer.speech_started"]
    assert session.waiting and session.hear() == [], "what came after the round has begun is of the next one"
    told({"type": "session.update", "session": {"type": "realtime"}})
    assert not session.waiting, "what came before an event is heard before it"
    told(append(silence(0.1)))
    assert session.waiting and not session.full
    told(append(silence(0.1)))
    assert session.full
    session.offer()
    assert not session.full and session.hear() == []
