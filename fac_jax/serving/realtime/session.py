"""A session of the realtime protocol, without network, engine or time of its own: events in, events out."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import StoredFeatures
from fac_jax.serving import logs
from fac_jax.serving.realtime import client_events as clients
from fac_jax.serving.realtime.conversing import Conversing
from fac_jax.serving.realtime.desk import Close, Desk, Out
from fac_jax.serving.realtime.hearing import PIECE_S, Hearing
from fac_jax.serving.realtime.items import Items
from fac_jax.serving.realtime.json_text import read_object
from fac_jax.serving.realtime.refused import INVALID_JSON, RefusedError, rate_limited
from fac_jax.serving.realtime.responses import Responses
from fac_jax.serving.realtime.server_events import new_id, session_created, session_updated
from fac_jax.serving.realtime.settings import Settings
from fac_jax.serving.realtime.settings_change import changed
from fac_jax.serving.realtime.sound import from_base64, rate_of
from fac_jax.serving.realtime.state import State
from fac_jax.serving.realtime.transcripts import Transcripts
from fac_jax.serving.security import TokenBucket
from fac_jax.serving.server import Server
from fac_jax.serving.talk import Event

DONE: Final = 1000  # close codes
POLICY: Final = 1008
TOO_BIG: Final = 1009

_AGAIN_S: Final = 10.0  # within which a second excess of the rates ends the session


class Session:
    """One session: every method returns what is to be sent and done, in order.

    Attributes:
      id: of the session.
    """

    def __init__(
        self,
        server: Server,
        clock: Callable[[], float],
        wall: Callable[[], float],
        *,
        model: str,
        fields: Mapping[str, Any] | None = None,
        steps: bool = False,
        state: State | None = None,
    ) -> None:
        """Begins a session, or resumes one.

        Args:
          server: engine, settings and detectors.
          clock: seconds, from any beginning.
          wall: seconds of the day, for what clients are told.
          model: that answers, one of `Engine.models`.
          fields: that the session begins with, as `session.update` has them; None for the defaults.
          steps: whether the client asked for the events `fac.*`.
          state: of the session that is resumed; its model and settings stand in place of those given.
        """
        limits, engine = server.config.limits, server.engine
        self.id = new_id("sess") if state is None else state.id
        voice = {"audio": {"output": {"voice": engine.voices[0]}}} if engine.voices else {"output_modalities": ["text"]}
        settings, _ = changed(Settings(), voice, "session", engine.voices, limits)
        model = model if state is None else state.model
        self._desk = desk = Desk(server, clock, self.id, model, steps, settings)
        self._items = Items(limits.items)
        self._responses = Responses(desk, self._items)
        self._expires_at, self._connection = int(wall() + limits.session_s), 1
        if state is not None:
            self._connection += state.connection
            desk.settings, self._expires_at, fields = state.settings, state.expires_at, None
            for item in state.items:
                self._items.append(item)
            self._responses.resume(state.conversation_id, state.spoke)
        self._hearing = Hearing(desk, self._items, self._responses)
        self._conversing = Conversing(desk, self._items)
        self._transcripts = Transcripts(desk)
        self._last_event = clock()
        self._ends = clock() + self._expires_at - wall()
        self._events = TokenBucket(limits.events_per_second, limits.events_per_second, clock)
        self._audio = TokenBucket(limits.audio_rate, limits.audio_burst_s, clock)
        self._exceeded: float | None = None  # time of the last excess
        self._malformed = 0  # messages in a row
        self._told_ignored = False  # fields that are not known here are told once in the log
        self._closing = False
        self._fields = fields
        self._handlers: dict[type[clients.ClientEvent], Callable[[Any], None]] = {
            clients.SessionUpdate: self._update,
            clients.CommitAudio: lambda _: self._hearing.commit(),
            clients.ClearAudio: lambda _: self._hearing.clear(),
            clients.CreateItem: self._conversing.create,
            clients.RetrieveItem: self._conversing.retrieve,
            clients.TruncateItem: self._conversing.truncate,
            clients.DeleteItem: self._conversing.delete,
            clients.CreateResponse: self._responses.create,
            clients.CancelResponse: self._responses.cancel,
        }

    def start(self) -> list[Out]:
        """Begins the talk; fields that are wrong are told as an error behind the first event."""
        refused = None
        if self._fields is not None:
            try:
                self._change(self._fields)
                self._hearing.configure()
            except RefusedError as error:
                refused = error
        self._desk.emit(session_created(self._shown()))
        if refused is not None:
            self._desk.refuse(refused)
        return self._desk.take()

    def receive(self, message: str | bytes) -> Iterator[list[Out]]:
        """Takes a message of the client. Long audio is heard in pieces; the caller may do other things between them.

        Yields:
          what is to be done.
        """
        if self._closing:
            return
        self._last_event = self._desk.clock()
        limits, event_id = self._desk.server.config.limits, None
        try:
            if len(message) > limits.message_bytes:
                self._close(TOO_BIG)
                return (yield self._desk.take())
            if self._events.take():
                raise rate_limited(f"There are at most {limits.events_per_second:g} events a second.")
            if isinstance(message, bytes):
                raise RefusedError("Binary frames are not accepted.", INVALID_JSON)
            fields = read_object(message, limits.nesting)
            self._malformed = 0
            event_id = fields["event_id"] if isinstance(fields.get("event_id"), str) else None
            event = clients.read_event(fields)
            if isinstance(event, clients.AppendAudio):
                for piece in self._pieces(event):
                    self._hearing.take(piece)
                    yield self._desk.take()
            else:
                self._hearing.offer()  # before the event, as it came
                self._hearing.hear()
                self._handlers[type(event)](event)
                self._responses.release()  # a deletion may be what it waited for
        except RefusedError as refused:
            self._refuse(refused, event_id)
        yield self._desk.take()

    @property
    def waiting(self) -> bool:
        """Returns whether audio waits for `offer`."""
        return self._hearing.waiting_s > 0

    @property
    def full(self) -> bool:
        """Returns whether so much waits for `offer` that nothing more is to be received before it."""
        return self._hearing.waiting_s >= PIECE_S

    def offer(self) -> None:
        """Gives the detector what has come, which it hears together with what other sessions give it."""
        if not self._closing:
            self._hearing.offer()

    def hear(self) -> list[Out]:
        """Follows what the detector says to what it was given; what it has not heard yet, it hears now."""
        if not self._closing:
            self._hearing.hear()
        return self._desk.take()

    def follow(self, reply_id: str, event: Event) -> list[Out]:
        """Takes an event of the engine."""
        if not self._closing and not self._responses.follow(reply_id, event):
            self._transcripts.follow(reply_id, event)
        return self._desk.take()

    def taken(self, item_id: str, wave: Float32[np.ndarray, " N"], features: StoredFeatures | None) -> list[Out]:
        """Takes what the engine made of a user's audio."""
        item = self._hearing.taken(item_id, wave, features)
        self._responses.release()
        if item is not None:
            self._conversing.show_retrieved()
            self._transcripts.begin(item)
        return self._desk.take()

    def tick(self) -> list[Out]:
        """Lets time pass; called a few times a second."""
        limits, now = self._desk.server.config.limits, self._desk.clock()
        if self._closing:
            return []
        if self._responses.active is not None or self._responses.heard:
            self._last_event = now
        if now >= self._ends:
            self._expire(f"The session has reached its {limits.session_s:g} s.")
        elif now - self._last_event >= limits.idle_s:
            self._expire(f"Nothing has happened for {limits.idle_s:g} s.")
        else:
            self._responses.played()
        return self._desk.take()

    @property
    def changes(self) -> int:
        """Returns a number that grows whenever something may have changed of what `state` returns."""
        return self._desk.changes

    def rest(self) -> list[Out]:
        """Ends everything that is under way, because the connection is gone.

        What the engine tells of the ends of replies, and of audio that is being taken, is still to be taken in.
        """
        self._hearing.ear.clear()
        self._responses.stop()
        self._transcripts.stop()
        return self._desk.take()

    def state(self, client: str) -> State:
        """Returns what outlives the connection of a client: items that are not complete are left out."""
        items = [item for item in self._items if item.settled and item.status != "in_progress"]
        responses = self._responses
        return State(
            id=self.id,
            client=client,
            model=self._desk.model,
            settings=self._desk.settings,
            items=items,
            expires_at=self._expires_at,
            conversation_id=responses.conversation_id,
            spoke=responses.spoke,
            connection=self._connection,
        )

    def _pieces(self, event: clients.AppendAudio) -> list[np.ndarray]:
        form, limits = self._desk.settings.audio.input.format, self._desk.server.config.limits
        samples = from_base64(event.audio, form, "audio")
        if self._audio.take(len(samples) / rate_of(form)):
            raise rate_limited(f"Audio may come {limits.audio_rate:g} times as fast as it is spoken.")
        return self._hearing.pieces(samples)

    def _update(self, event: clients.SessionUpdate) -> None:
        self._change(event.session)
        self._hearing.configure()
        self._desk.emit(session_updated(self._shown()))

    def _change(self, fields: Mapping[str, Any]) -> None:
        if fields.get("type", "realtime") != "realtime":
            message = "Sessions are of the type realtime."
            raise RefusedError(message, "unsupported_session_type", "session.type")
        server, old = self._desk.server, self._desk.settings
        new, ignored = changed(old, fields, "session", server.engine.voices, server.config.limits)
        if self._responses.spoke and new.audio.output.voice != old.audio.output.voice:
            message = "The voice cannot change after the model has spoken."
            raise RefusedError(message, param="session.audio.output.voice")
        if not server.config.transcribe:
            new = _without_transcription(new)
        self._desk.settings = new
        if ignored and not self._told_ignored:
            logs.event("session.ignored_fields", {"fields": sorted(ignored)[:20]}, session=self.id, count=len(ignored))
            self._told_ignored = True

    def _shown(self) -> dict[str, Any]:
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": self.id,
            "model": self._desk.model,
            **self._desk.settings.shown(),
            "tracing": None,
            "prompt": None,
            "include": None,
            "expires_at": self._expires_at,
        }

    def _refuse(self, refused: RefusedError, event_id: str | None) -> None:
        self._desk.refuse(refused, event_id)
        if refused.code == INVALID_JSON:
            self._malformed += 1
            if self._malformed >= self._desk.server.config.limits.malformed:
                self._close(POLICY)
        elif refused.kind == "rate_limit_error":
            now = self._desk.clock()
            if self._exceeded is not None and now - self._exceeded < _AGAIN_S:
                self._close(POLICY)
            self._exceeded = now

    def _expire(self, message: str) -> None:
        self._desk.refuse(RefusedError(message, "session_expired"))
        self._close(DONE)

    def _close(self, code: int) -> None:
        self._closing = True
        self._desk.tell(Close(code))


def _without_transcription(settings: Settings) -> Settings:
    """Returns settings of a server that writes nothing down."""
    given = settings.audio.input.model_copy(update={"transcription": None})
    return settings.model_copy(update={"audio": settings.audio.model_copy(update={"input": given})})
