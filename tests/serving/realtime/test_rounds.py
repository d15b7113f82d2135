"""Rounds in which sessions hear together."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fac_jax.serving.realtime.rounds import ROUND_S, Rounds


def test_a_round_is_the_same_for_all_who_wait_and_whoever_leaves_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        rounds, asked = Rounds(), list[tuple[float, Callable[[], Any]]]()
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", lambda *call: asked.append(call))
        waiting = [asyncio.ensure_future(rounds.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert [seconds for seconds, _ in asked] == [ROUND_S] and not any(one.done() for one in waiting)
        waiting[0].cancel()
        asked[0][1]()
        await asyncio.gather(*waiting[1:])
        later = asyncio.ensure_future(rounds.wait())
        await asyncio.sleep(0)
        assert len(asked) == 2 and not later.done()
        asked[1][1]()
        await later

    asyncio.run(run())
