"""A client of `/v1/live/sessions` for tests, whose audio is the clock."""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import numpy as np
import openai.types.live.server_event as sdk
import pytest
from fake_engine import tone
from pydantic import TypeAdapter
from starlette.testclient import TestClient, WebSocketTestSession

from fac_jax.serving.app import App
from fac_jax.serving.live.slots import Pace
from fac_jax.serving.live.socket import live
from fac_jax.serving.web import sockets

PATH = "/v1/live/sessions"
EAGER = Pace(late_s=1e6, early_s=1e6, ahead_s=1e6)  # every slot is heard when its audio is there
SDK_EVENT = TypeAdapter(sdk.ServerEvent)

Event = dict[str, Any]


def set_pace(monkeypatch: pytest.MonkeyPatch, pace: Pace = EAGER) -> None:
    """Makes sessions of all applications keep a pace."""
    monkeypatch.setattr(sockets, "live", partial(live, pace=pace))


class LiveTalk:
    """A session.

    Attributes:
      events: all that the server sent, in order.
    """

    def __init__(self, socket: WebSocketTestSession, rate: int) -> None:
        self.socket, self.rate = socket, rate
        self.events: list[Event] = []

    def send(self, kind: str, **fields: Any) -> Self:
        self.socket.send_json({"type": kind, **fields})
        return self

    def receive(self) -> Event:
        """The next event, which has to be one that the SDK knows, or one for the page."""
        event = self.socket.receive_json()
        if not event["type"].startswith("fac."):
            SDK_EVENT.validate_python(event)
        self.events.append(event)
        return event

    def until(self, kind: str) -> Event:
        """The next event of a kind."""
        while (event := self.receive())["type"] != kind:
            pass
        return event

    def slot(self, loud: bool = False) -> np.ndarray:
        """Sends 200 ms of a tone or silence, and returns what the model says meanwhile."""
        self.send_slot(loud)
        delta = self.until("session.output_audio.delta")["delta"]
        heard = np.frombuffer(base64.b64decode(delta), "<i2")
        assert len(heard) == 0.2 * self.rate
        return heard / 32_768

    def send_slot(self, loud: bool = False) -> Self:
        wave = tone(0.2, self.rate, loudness=0.3 * loud)
        data = (wave * 32_767).astype("<i2").tobytes()
        return self.send("session.input_audio.append", audio=base64.b64encode(data).decode())

    def speak(self, slots: int = 4) -> None:
        """Speaks, and is silent until the turn is over."""
        for _ in range(slots):
            self.slot(loud=True)
        for _ in range(4):
            self.slot()

    def slots_until(self, holds: Callable[[np.ndarray], Any], most: int = 60) -> np.ndarray:
        """Is silent until the model says something of a kind."""
        for _ in range(most):
            if holds(heard := self.slot()):
                return heard
        raise AssertionError("it does not happen")

    @property
    def errors(self) -> list[str]:
        """The codes of all errors so far."""
        return [event["error"]["code"] for event in self.events if event["type"] == "error"]

    def said(self, side: str = "output") -> str:
        """What was written down of a side so far."""
        kind = f"session.{side}_transcript.delta"
        return "".join(event["delta"] for event in self.events if event["type"] == kind)


@contextmanager
def live_talk(app: App, rate: int = 24_000, query: str = "", **session: Any) -> Iterator[LiveTalk]:
    """A session that has begun, the only one of an application."""
    with TestClient(app) as client, talk_of(client, app, rate, query, **session) as talk:
        yield talk


@contextmanager
def talk_of(client: TestClient, app: App, rate: int = 24_000, query: str = "", **session: Any) -> Iterator[LiveTalk]:
    """A session that has begun, beside others of a client."""
    with client.websocket_connect(PATH + query, headers={}) as socket:
        talk = LiveTalk(socket, rate)
        config = {"model": app.server.engine.model, "audio": {"format": {"type": "audio/pcm", "rate": rate}}}
        talk.send("session.start", session=config | session, event_id="start")
        assert talk.receive()["client_event_id"] == "start"
        yield talk
