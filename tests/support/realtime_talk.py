"""A client of the realtime protocol in the process of the server: no network, and time stands still unless moved."""

import asyncio
import base64
import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, get_args

import numpy as np
from energy_turns import EnergyTurns
from fake_engine import FakeEngine, tone
from openai.types.realtime import RealtimeServerEvent
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocketDisconnect

from fac_jax.serving.config import Limits, ServerConfig
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.realtime.rounds import Rounds
from fac_jax.serving.realtime.socket import realtime
from fac_jax.serving.security import Access
from fac_jax.serving.server import Server
from fac_jax.serving.talk import Engine

RATE = 24_000
PATIENCE_S = 20.0  # of real time, after which a test that waits in vain fails
Event = dict[str, Any]

MODELS: Mapping[str, Any] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(RealtimeServerEvent)[0])
}


def check(event: Event) -> None:
    """Checks an event of the server by the model of the openai SDK: strictly, and without fields it does not have."""
    if event["type"].startswith("fac."):
        return
    model = MODELS[event["type"]]
    model.model_validate(event, strict=True)
    assert set(event) <= set(model.model_fields), f"{event['type']}: {set(event) - set(model.model_fields)}"


class StillClock:
    """A clock that moves when the test says so."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._now + seconds, future))
        await future

    def move(self, seconds: float) -> None:
        self._now += seconds
        due = [future for time, future in self._sleepers if time <= self._now]
        self._sleepers = [(time, future) for time, future in self._sleepers if time > self._now]
        for future in due:
            if not future.done():
                future.set_result(None)


class Socket:
    """The server's end of a connection, as Starlette has it."""

    def __init__(self, query: str) -> None:
        self.query_params = QueryParams(query)
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[str] = []
        self.news = asyncio.Event()
        self.code: int | None = None  # of the close
        self.reads = asyncio.Event()  # cleared, the client takes nothing
        self.reads.set()
        self.subprotocol: str | None = None

    async def accept(self, subprotocol: str | None = None) -> None:
        self.subprotocol = subprotocol

    async def receive(self) -> dict[str, Any]:
        return await self.incoming.get()

    async def send_text(self, text: str) -> None:
        await self.reads.wait()
        self.sent.append(text)
        self.news.set()

    async def close(self, code: int) -> None:
        self.code = code
        self.news.set()


@dataclasses.dataclass(eq=False)
class Talk:
    """A connection: `async with Talk() as talk`.

    Attributes:
      engine: that replies.
      limits: of the server.
      config: of the server, besides its limits.
      query: of the URL.
      access: of the client.
      checks: whether every event is checked by the SDK's models.
      shared: the server, where several talks have one; it has an engine and limits of its own.
    """

    engine: Any = dataclasses.field(default_factory=FakeEngine)
    limits: Limits = Limits()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    query: str = "model=fac-fake"
    access: Access = Access()
    checks: bool = True
    detector: Callable[..., Any] = EnergyTurns
    shared: Server | None = None

    async def __aenter__(self) -> Self:
        self.metrics = Metrics()
        engine: Engine = self.engine
        settings = ServerConfig(limits=self.limits, **self.config)
        made = Server(engine, settings, self.detector, self.metrics, rounds=Rounds(seconds=0.0))
        self.server = self.shared or made
        self.engine = self.server.engine
        self.clock, self.socket = StillClock(), Socket(self.query)
        self.events: list[Event] = []
        self._read = 0
        socket: Any = self.socket
        self.running = asyncio.ensure_future(realtime(socket, self.server, self.access, self.clock))
        await self.until("session.created")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.running.cancelled():
            return
        if not self.running.done():
            await self.socket.incoming.put({"type": "websocket.disconnect", "code": 1000})
        with contextlib.suppress(WebSocketDisconnect):
            await asyncio.wait_for(self.running, PATIENCE_S)

    async def send(self, *events: Event | str | bytes) -> None:
        """Sends events, texts or bytes, and lets the server do all that it can."""
        for event in events:
            field = "bytes" if isinstance(event, bytes) else "text"
            data = json.dumps(event) if isinstance(event, dict) else event
            await self.socket.incoming.put({"type": "websocket.receive", field: data})
        await self.settle()

    async def settle(self) -> None:
        """Lets the server do all that it can without news."""
        for _ in range(60):
            await asyncio.sleep(0)
        self._take()

    async def until(self, kind: str, times: int = 1, step: bool = False) -> list[Event]:
        """Returns the events since the last call, up to the one of a type; `step` drives the engine meanwhile."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while True:
            self._take()
            places = [n for n, event in enumerate(self.events) if n >= self._read and event["type"] == kind]
            if len(places) >= times:
                found = self.events[self._read : places[times - 1] + 1]
                self._read = places[times - 1] + 1
                return found
            if self.running.done() and not self.running.cancelled() and self.running.exception():
                raise AssertionError("the server failed") from self.running.exception()
            assert asyncio.get_running_loop().time() < deadline, f"no {kind}; there are {self.types()}"
            assert self.socket.code is None, f"closed with {self.socket.code}; there are {self.types()}"
            if step:
                self.engine.step()
            await asyncio.sleep(0)

    async def ask(self, event: Event, kind: str, step: bool = False) -> list[Event]:
        """Sends an event and returns those that follow, up to the one of a type."""
        await self.settle()
        self._read = len(self.events)
        await self.send(event)
        return await self.until(kind, step=step)

    async def error(self, event: Event | str | bytes) -> Event:
        """Sends what is refused; returns the error, and checks that the session goes on."""
        before = len(self.events)
        await self.send(event)
        errors = [one for one in self.events[before:] if one["type"] == "error"]
        assert len(errors) == 1, self.events[before:]
        await self.alive()
        return errors[0]["error"]

    async def alive(self) -> None:
        """Checks that the session answers."""
        before = self.types().count("session.updated")
        await self.send({"type": "session.update", "session": {"type": "realtime"}})
        assert self.types().count("session.updated") == before + 1

    async def lose(self) -> None:
        """Loses the connection, as a network does."""
        await self.socket.incoming.put({"type": "websocket.disconnect", "code": 1006})
        with contextlib.suppress(WebSocketDisconnect):
            await asyncio.wait_for(self.running, PATIENCE_S)

    async def move(self, seconds: float) -> None:
        """Lets time pass."""
        self.clock.move(seconds)
        await self.settle()

    async def closed(self) -> int:
        """Returns the code with which the server closes."""
        await asyncio.wait_for(asyncio.shield(self.running), PATIENCE_S)
        self._take()
        assert self.socket.code is not None
        return self.socket.code

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, kind: str) -> list[Event]:
        """Returns all events of a type."""
        return [event for event in self.events if event["type"] == kind]

    def _take(self) -> None:
        for text in self.socket.sent[len(self.events) :]:
            event = json.loads(text)
            if self.checks:
                check(event)
            self.events.append(event)


def append(samples: np.ndarray) -> Event:
    """Returns the event that appends samples at 24 kHz."""
    words = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype("<i2")
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(words.tobytes()).decode()}


def speech(seconds: float, rate: int = RATE) -> np.ndarray:
    """Returns a tone that the detector of tests takes for speech."""
    return tone(seconds, rate, 220.0, 0.3)


def silence(seconds: float, rate: int = RATE) -> np.ndarray:
    return np.zeros(round(seconds * rate), np.float32)


def item(**fields: Any) -> Event:
    """Returns the event that creates an item."""
    return {"type": "conversation.item.create", "item": fields}


def message(role: str, *content: Any) -> Event:
    """Returns the event that creates a message."""
    return item(type="message", role=role, content=list(content))


def update(**fields: Any) -> Event:
    """Returns the event that changes settings of the session."""
    return {"type": "session.update", "session": {"type": "realtime", **fields}}


def audio_in(**fields: Any) -> Event:
    """Returns the event that changes settings of the audio that comes in."""
    return update(audio={"input": fields})


def user(text: str, **fields: Any) -> Event:
    """Returns the event that creates a user's message."""
    return item(type="message", role="user", content=[{"type": "input_text", "text": text}], **fields)


def manual() -> Event:
    """Returns the event that turns the detector off."""
    return audio_in(turn_detection=None)


def detection(**fields: Any) -> Event:
    """Returns the event that turns the server's detector on."""
    return audio_in(turn_detection={"type": "server_vad", **fields})


def run(test: Callable[[], Any]) -> None:
    """Runs an asynchronous test."""
    asyncio.run(test())


def audio_of(events: Sequence[Event]) -> np.ndarray:
    """Returns the samples of all audio events, as 16-bit words."""
    data = [base64.b64decode(event["delta"]) for event in events if event["type"] == "response.output_audio.delta"]
    return np.frombuffer(b"".join(data), "<i2")


def counted(types: Sequence[str]) -> Counter[str]:
    return Counter(types)
