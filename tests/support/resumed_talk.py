"""Talks that go on after their connection was lost."""

from pathlib import Path
from typing import Any

from energy_turns import EnergyTurns
from fake_engine import FakeEngine
from realtime_talk import Talk

from fac_jax.serving.config import Limits, ServerConfig
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.realtime.rounds import Rounds
from fac_jax.serving.server import Server


def server_of(engine: FakeEngine | None = None, folder: Path | None = None, **limits: Any) -> Server:
    """A server of one engine, which keeps sessions in a folder if one is given."""
    config, rounds = ServerConfig(limits=Limits(**limits)), Rounds(seconds=0.0)
    return Server(engine or FakeEngine(), config, EnergyTurns, Metrics(), folder, rounds=rounds)


def again(talk: Talk, server: Server | None = None, **settings: Any) -> Talk:
    """A connection that asks for the session of another one."""
    query = f"model=fac-fake&session_id={id_of(talk)}"
    return Talk(shared=server or talk.server, query=query, **settings)


def id_of(talk: Talk) -> str:
    """The id of a talk's session."""
    return talk.of("session.created")[0]["session"]["id"]
