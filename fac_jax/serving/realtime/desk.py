"""What the parts of a session share, and what a session tells the driver beside events."""

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.server_events import ServerEvent, error, new_id
from fac_jax.serving.realtime.settings import Settings
from fac_jax.serving.server import Server
from fac_jax.serving.talk import Listening, TalkRequest


@dataclasses.dataclass(frozen=True, eq=False)
class Ask:
    """Asks the engine for a reply; its events come back under `reply_id`."""

    reply_id: str
    request: TalkRequest


@dataclasses.dataclass(frozen=True)
class Stop:
    """Ends a reply; audio of it that has not gone out yet is dropped."""

    reply_id: str


@dataclasses.dataclass(frozen=True)
class Played:
    """Tells the engine how much of a reply the listener has had, in seconds."""

    reply_id: str
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Take:
    """Ends a user's audio in the engine; what it gives comes back for the item."""

    item_id: str
    listening: Listening


@dataclasses.dataclass(frozen=True)
class Close:
    """Closes the connection with a code, behind all events before it."""

    code: int


Out: TypeAlias = ServerEvent | Ask | Stop | Played | Take | Close


class Desk:
    """What the parts of a session share.

    Attributes:
      server: engine, settings and metrics.
      clock: seconds, from any beginning.
      session_id: id of the session.
      model: that answers, one of `Engine.models`.
      steps: whether the client asked for the events `fac.*`.
      settings: of the session, as they are.
      changes: events so far that tell more than a piece of a reply.
    """

    def __init__(
        self,
        server: Server,
        clock: Callable[[], float],
        session_id: str,
        model: str,
        steps: bool,
        settings: Settings,
    ) -> None:
        self.server, self.clock, self.session_id, self.steps = server, clock, session_id, steps
        self.model, self.settings = model, settings
        self.changes = 0
        self._begun = clock()
        self._outs: list[Out] = []

    def emit(self, event: ServerEvent) -> None:
        """Sends an event."""
        self.changes += not event["type"].endswith(".delta")
        self._outs.append({"event_id": new_id("event"), **event})

    def tell(self, command: Ask | Stop | Played | Take | Close) -> None:
        """Tells the driver what to do, between the events before and after it."""
        self._outs.append(command)

    def refuse(self, refused: RefusedError, event_id: str | None = None) -> None:
        """Sends an error; `event_id` is that of the client's event."""
        self.server.metrics.errors.labels(refused.code).inc()
        self.emit(error(refused, event_id))

    def ms(self, time: float | None) -> int | None:
        """Returns a time of the clock in ms since the session began."""
        return None if time is None else round((time - self._begun) * 1000)

    def take(self) -> list[Out]:
        """Returns what has gathered, in order."""
        outs, self._outs = self._outs, []
        return outs
