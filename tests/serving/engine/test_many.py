"""Many requests at once: each reply is the one that it has alone, and nothing is compiled or left behind."""

import asyncio
import dataclasses
import random
from typing import Any

import pytest
from talking import PENALTY, TEXTS, WARM, WAVES, Asked, answer, asks, request, said

from fac_jax.api import Model
from fac_jax.serving.engine import TalkEngine
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.talk import Step, TalkRequest

PROMPTS = [said(asks(question)) for question in (*TEXTS, *WAVES)] + [said(asks(TEXTS[0]), system="")]
KINDS: list[dict[str, Any]] = [{}, {"text": PENALTY, "speech": PENALTY}, {"speech": WARM}, {"text": WARM}]
SESSIONS = 6


def kinds_of(rng: random.Random) -> list[TalkRequest]:
    """A few kinds of requests, what is alone is made once for each."""
    return [
        request(rng.choice(PROMPTS), rng.random() < 0.7, rng.choice((16, 16, 5, 1)), seed=seed, **KINDS[seed % 4])
        for seed in range(16)
    ]


async def clients(engine: TalkEngine, rng: random.Random, count: int) -> list[Asked]:
    """Ten clients, each of which asks again when it was answered; some leave before."""
    asked: list[Asked] = []
    kinds = kinds_of(random.Random(0))

    async def client() -> None:
        while len(asked) < count:
            session = f"session {rng.randrange(SESSIONS)}" if rng.random() < 0.4 else None
            wanted = dataclasses.replace(rng.choice(kinds), session=session)
            asked.append(Asked(engine, wanted, rng.randrange(12) if rng.random() < 0.2 else None))
            await asked[-1].over()

    await asyncio.gather(*(client() for _ in range(10)))
    return asked


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_replies_are_those_alone(engine: TalkEngine, talks: Model, metrics: Metrics, count: int) -> None:
    engine.compilations.names.clear()
    found = asyncio.run(clients(engine, random.Random(count), count))
    assert not engine.compilations.names
    for one in found:
        one.check(talks)
    reasons = [one.end.reason for one in found]
    assert reasons.count("cancelled") > count // 20 and reasons.count("limit") + reasons.count("stop") > count // 2
    assert any(one.end.reason != "cancelled" and one.began.reused for one in found)
    for number in range(SESSIONS):
        engine.forget(f"session {number}")
    answer(engine, request(PROMPTS[0])).check(talks)
    gauge = metrics.registry.get_sample_value
    assert gauge("fac_slots_used") == gauge("fac_queue_depth") == gauge("fac_kv_bytes_used") == engine.kept == 0
    reserved = gauge("fac_kv_bytes_reserved")
    assert reserved and reserved > 0


@pytest.mark.filterwarnings("ignore::UserWarning")  # that a reply was cut
def test_a_reply_is_that_of_the_model(engine: TalkEngine, talks: Model) -> None:
    for question, spoken in ((WAVES[0], True), (TEXTS[0], False)):
        reply = talks.respond(question, system="You listen.", max_steps=16, seed=5)
        asked = answer(engine, request(said(asks(question)), spoken, seed=5))
        assert "".join(step.text for step in asked.of(Step)) == reply.text == engine.text_of(asked.reply)
        assert asked.units == reply.units.tolist() and len(asked.wave) == len(reply.wave)
        assert (asked.end.reason == "stop") == reply.finished
