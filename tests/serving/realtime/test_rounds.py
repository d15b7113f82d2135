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


def test_a_round_is_the_same_for_all_who_wait_and_whoever_leaves_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        rounds, asked = Rounds(), list[Any]()
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *call: asked.append(call))
        waiting = [asyncio.ensure_future(rounds.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert [seconds for seconds, *_ in asked] == [ROUND_S] and not any(one.done() for one in waiting)
        waiting[0].cancel()
        asked[0][1](*asked[0][2:])
        await asyncio.gather(*waiting[1:])
        later = asyncio.ensure_future(rounds.wait())
        await asyncio.sleep(0)
        assert len(asked) == 2 and not later.done()
        asked[1][1](*asked[1][2:])
        await later

    asyncio.run(run())


def test_a_round_ends_when_all_is_heard_in_another_thread() -> None:
    go, heard = threading.Event(), list[str]()

    def hear() -> None:
        assert go.wait(10)
        heard.append(threading.current_thread().name)

    async def run() -> None:
        rounds = Rounds(hear, 0.0)
        waiting = asyncio.ensure_future(rounds.wait())
        await asyncio.sleep(0.05)
        assert not waiting.done(), "the loop is free, and the round not over"
        later = asyncio.ensure_future(rounds.wait())
        go.set()
        await asyncio.gather(waiting, later)
        assert len(heard) == 2 and all(name.startswith("detector") for name in heard)

    asyncio.run(run())


def test_what_a_detector_fails_with_comes_to_those_who_wait() -> None:
    def hear() -> None:
        raise OSError("no network")

    async def run() -> None:
        with pytest.raises(OSError, match="no network"):
            await Rounds(hear, 0.0).wait()

    asyncio.run(run())


def test_audio_waits_for_a_round_and_nothing_more_is_received_before_it_where_it_is_much() -> None:
    server: Any = Server(FakeEngine(), ServerConfig(), EnergyTurns, Metrics())
    session = Session(server, lambda: 0.0, lambda: 0.0, model=FakeEngine.model)
    session.start()

    def told(event: dict[str, Any]) -> list[str]:
        return [out["type"] for outs in session.receive(json.dumps(event)) for out in outs if isinstance(out, dict)]

    assert told(append(speech(0.1))) == [] and session.unheard
    assert [out["type"] for out in session.hear() if isinstance(out, dict)] == ["input_audio_buffer.speech_started"]
    assert not session.unheard and session.hear() == []
    assert told(append(silence(0.1))) == [] and session.unheard
    told({"type": "session.update", "session": {"type": "realtime"}})
    assert not session.unheard, "what came before an event is heard before it"
    told(append(silence(0.1)))
    assert session.unheard and not session.full
    told(append(silence(0.1)))
    assert session.full
    assert [out["type"] for out in session.hear() if isinstance(out, dict)] == []
    assert not session.full
