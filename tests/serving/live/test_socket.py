"""A live session whose client is slow, gone or cut off."""

import asyncio
import json
from typing import Any

import numpy as np
from fake_engine import FakeEngine
from live_talk import EAGER
from served import app_of, base64_of

from fac_jax.serving.app import App
from fac_jax.serving.config import Limits
from fac_jax.serving.live.socket import live
from fac_jax.serving.web import sockets


class Line:
    """A connection by hand: what comes is given, what goes is kept, and can be held up."""

    def __init__(self) -> None:
        self.scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/v1/live/sessions",
            "raw_path": b"/v1/live/sessions",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost")],
            "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.coming.put_nowait({"type": "websocket.connect"})
        self.sent: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()

    def say(self, kind: str, **fields: Any) -> None:
        self.coming.put_nowait({"type": "websocket.receive", "text": json.dumps({"type": kind, **fields})})

    def slots(self, number: int, loudness: float = 0.0) -> None:
        """Sends audio of so many slots."""
        wave = loudness * np.sin(np.arange(4800 * number) / 5)
        self.say("session.input_audio.append", audio=base64_of((wave * 32_767).astype("<i2").tobytes()))

    async def receive(self) -> dict[str, Any]:
        return await self.coming.get()

    async def send(self, message: dict[str, Any]) -> None:
        await self.reads.wait()
        self.sent.append(message)

    async def until(self, holds: Any) -> None:
        async with asyncio.timeout(10):
            while not holds():
                await asyncio.sleep(0)


async def begun(app: App) -> tuple[Line, "asyncio.Task[None]"]:
    line = Line()
    talking = asyncio.create_task(app(line.scope, line.receive, line.send))
    line.say("session.start", session={"model": FakeEngine.model})
    await line.until(lambda: len(line.sent) == 2)
    assert app.gate.sessions == 1
    return line, talking


def test_a_client_that_does_not_read_is_closed_with_1013() -> None:
    async def talk() -> None:
        app = app_of(limits=Limits(send_s=0.01))
        line, talking = await begun(app)
        line.reads.clear()
        line.slots(1)
        await asyncio.sleep(0.05)  # longer than a send may take
        line.reads.set()
        await talking
        assert line.sent[-1] == {"type": "websocket.close", "code": 1013, "reason": ""}
        assert app.gate.sessions == 0
        assert b'fac_closed_total{code="1013"} 1.0' in app.server.metrics.text()

    asyncio.run(talk())


def test_what_a_client_that_goes_had_under_way_is_ended(monkeypatch: Any) -> None:
    async def eager(*args: Any) -> None:
        await live(*args, pace=EAGER)

    monkeypatch.setattr(sockets, "live", eager)

    async def talk() -> None:
        engine = FakeEngine(by_hand=True)
        app = app_of(engine)
        line, talking = await begun(app)
        line.slots(4, 0.3)
        line.slots(4)
        await line.until(lambda: engine.handles)
        line.slots(4, 0.3)  # a second turn, which does not end
        await line.until(lambda: len(engine.heard) == 2)
        line.coming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await talking
        await asyncio.sleep(0)
        assert engine.handles[0].ended == "cancelled" and engine.heard[1].state == "dropped"
        assert len(engine.forgotten) == 1 and not app.gate.sessions

    asyncio.run(talk())


def test_drain_closes_with_1012() -> None:
    async def talk() -> None:
        app = app_of(drain_s=0.01)
        line, talking = await begun(app)
        await app.drain()
        await talking
        assert line.sent[-1] == {"type": "websocket.close", "code": 1012, "reason": ""}
        assert app.gate.sessions == 0

    asyncio.run(talk())
