"""The engine's thread: faults, the end, and loops that are gone."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, cast

import pytest
from talking import SETTINGS, TEXTS, Asked, answer, asks, request, said

from fac_jax.api import Model
from fac_jax.serving.engine import TalkEngine, make_engine, programs
from fac_jax.serving.engine import engine as engine_module
from fac_jax.serving.engine.core import PROMPTS_FIRST, Core
from fac_jax.serving.engine.worker import Worker

WANTED = request(said(asks(TEXTS[1])))


@pytest.fixture
def fresh(talks: Model, monkeypatch: pytest.MonkeyPatch) -> TalkEngine:
    """An engine whose programs are compiled already."""
    monkeypatch.setattr(engine_module, "warm_up", lambda *_: None)
    made = make_engine(talks, "tiny", SETTINGS)
    made.warm_up()
    return made


def failing(times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the next steps of the device fail."""
    left, works = [None] * times, programs.advance

    def advance(*given: Any, **named: Any) -> Any:
        if left:
            left.pop()
            raise RuntimeError("said by the device")
        return works(*given, **named)

    monkeypatch.setattr(programs, "advance", advance)


def test_what_is_asked_within_a_turn_is_done_before_it_ends(talks: Model) -> None:
    done: list[str] = []

    class Turns:
        """Stands in for a core: asks for something in its first turn."""

        wait_s, room = 0.0, True

        def turn(self, between: Callable[[], None]) -> None:
            if not done:
                worker.do(lambda _: done.append("asked"))
                between()
                done.append("the turn is over")

    worker = Worker(lambda: cast(Core, Turns()), talks.config.special)
    worker.start()
    worker.wait()
    while len(done) < 2:
        time.sleep(0.01)
    worker.stop()
    assert done == ["asked", "the turn is over"]


def test_a_fault_ends_what_runs_and_a_second_one_ends_all(
    fresh: TalkEngine, talks: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def several() -> list[Asked]:
        asked = [Asked(fresh, WANTED) for _ in range(6)]
        return [await one.over() for one in asked]

    failing(1, monkeypatch)
    first = asyncio.run(several())
    reasons = [one.end.reason for one in first]
    assert 1 <= reasons.count("failed") <= PROMPTS_FIRST and fresh.alive and fresh.ready
    for one in first:
        one.check(talks)
    failing(1, monkeypatch)
    last = asyncio.run(several())
    assert {one.end.reason for one in last} == {"failed"}
    assert {one.end.error for one in last} == {"the engine failed (RuntimeError)"}
    assert not fresh.alive and not fresh.ready
    assert answer(fresh, WANTED).end.reason == "failed"
    fresh.forget("nobody")
    fresh.stop()


def test_an_engine_that_cannot_start_says_so(talks: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(engine_module, "warm_up", refused)
    made = make_engine(talks, "tiny", SETTINGS)
    with pytest.raises(MemoryError):
        made.warm_up()
    assert not made.ready and not made.alive
    assert answer(made, WANTED).end.reason == "failed"
    made.stop()


def test_a_stop_ends_requests(fresh: TalkEngine) -> None:
    async def stopped() -> list[Asked]:
        asked = [Asked(fresh, WANTED) for _ in range(6)]
        await asyncio.to_thread(fresh.stop)
        return [await one.over() for one in asked]

    assert {one.end.error for one in asyncio.run(stopped())} <= {"the server stops", ""}
    assert not fresh.alive and not fresh.ready


def test_a_listener_that_is_gone_or_fails_hurts_nobody(fresh: TalkEngine, talks: Model) -> None:
    async def leaves() -> None:
        Asked(fresh, WANTED)

    asyncio.run(leaves())  # the loop is closed before the reply has begun

    def raises(_: Any) -> None:
        raise ValueError

    async def beside() -> Asked:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        fresh.submit(WANTED, raises)
        return await Asked(fresh, WANTED).over()

    asyncio.run(beside()).check(talks)
    answer(fresh, WANTED).check(talks)
    fresh.stop()
