"""The connection of a live session."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from jaxtyping import Float32
from starlette.websockets import WebSocket

from fac_jax.batching.conversation import Turn
from fac_jax.serving import logs
from fac_jax.serving.live import events
from fac_jax.serving.live.full_duplex import FullDuplex
from fac_jax.serving.live.half_duplex import HalfDuplex
from fac_jax.serving.live.slots import Pace, Slots
from fac_jax.serving.realtime.json_text import read_object
from fac_jax.serving.realtime.refused import INVALID_JSON, RefusedError, rate_limited
from fac_jax.serving.realtime.server_events import ServerEvent, new_id
from fac_jax.serving.realtime.settings import Pcm
from fac_jax.serving.realtime.sound import from_base64
from fac_jax.serving.security import Access, TokenBucket
from fac_jax.serving.server import Server

DONE: Final = 1000
POLICY: Final = 1008
OVERLOAD: Final = 1013

_DEFAULT_VOICE: Final = "default"
_APPENDED: Final = 4  # texts of the full size that may be appended in a session
_STRIKE_S: Final = 10.0  # two excesses within it end the session

PACE: Final = Pace()
CLOSE_S: Final = 1.0  # for a close to be sent, to a client that may not read


class _Closed(Exception):
    """The session is over; the connection is to be closed with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


async def live(websocket: WebSocket, server: Server, access: Access, pace: Pace = PACE) -> None:
    """Talks on a connection until its end. It is not accepted yet."""
    await websocket.accept(subprotocol=access.subprotocol)
    session = _Session(websocket, server, access, pace)
    try:
        await session.run()
    except _Closed as closed:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await websocket.close(closed.code)
    finally:
        session.end()


class _Session:
    def __init__(self, websocket: WebSocket, server: Server, access: Access, pace: Pace) -> None:
        self._websocket, self._server, self._pace = websocket, server, pace
        self._access, self._limits = access, server.config.limits
        self._fac_events = websocket.query_params.get("events") == "fac"
        self._told: asyncio.Queue[ServerEvent] = asyncio.Queue()  # by the model's side
        limits, self._began = self._limits, time.monotonic()
        self._events = TokenBucket(limits.events_per_second, limits.events_per_second)
        self._audio = TokenBucket(limits.audio_rate, limits.audio_burst_s)
        self._malformed, self._strike = 0, -_STRIKE_S
        self._seen = self._began  # when the client sent something last
        self._shown: dict[str, Any] = {}  # the session as clients see it
        self._model: HalfDuplex | FullDuplex | None = None
        self._slots = Slots(24_000, pace)
        self._id = new_id("live")
        self._tap = server.recordings.begin(self._id)
        self._muted = False
        self._appended = 0  # bytes

    async def run(self) -> None:
        """Takes what happens, one thing after the other.

        Raises:
          _Closed: at the end, unless the client has gone.
        """
        receiving = asyncio.ensure_future(self._websocket.receive())
        told = asyncio.ensure_future(self._told.get())
        try:
            while True:
                await asyncio.wait({receiving, told}, timeout=self._wait(), return_when=asyncio.FIRST_COMPLETED)
                if told.done():
                    await self._send(told.result())
                    while not self._told.empty():
                        await self._send(self._told.get_nowait())
                    told = asyncio.ensure_future(self._told.get())
                if receiving.done():
                    message = receiving.result()
                    if message["type"] == "websocket.disconnect":
                        return
                    await self._message(message)
                    receiving = asyncio.ensure_future(self._websocket.receive())
                await self._tick()
        finally:
            receiving.cancel()
            told.cancel()

    def end(self) -> None:
        """Frees what the session holds, and logs it."""
        if self._model is not None:
            self._model.close()
        self._tap.close()
        slots = self._slots
        logs.event(
            "live.ended",
            session=self._id,
            client=self._access.client,
            seconds=self._seconds,
            input_underruns=slots.underruns,
            dropped_s=round(slots.dropped_s, 3),
        )

    @property
    def _seconds(self) -> float:
        return round(self._slots.heard * self._pace.slot_s, 3)

    def _wait(self) -> float:
        now = time.monotonic()
        idle, expiry = self._seen + self._limits.idle_s - now, self._began + self._limits.session_s - now
        return max(0.0, min(self._slots.wake(now), idle, expiry))

    async def _tick(self) -> None:
        """Hears the slots that are due, and looks at the time."""
        now = time.monotonic()
        late = self._slots.underruns
        while (slot := self._slots.take(now)) is not None:
            await self._slot(slot, late < self._slots.underruns)
            late = self._slots.underruns
        if now - self._began >= self._limits.session_s:
            await self._close("expired")
        if now - self._seen >= self._limits.idle_s:
            await self._close("connection_lost")

    async def _slot(self, samples: Float32[np.ndarray, " N"], late: bool) -> None:
        assert self._model is not None
        heard = np.zeros_like(samples) if self._muted else samples
        if isinstance(self._model, FullDuplex):
            audio, text = self._model.slot(heard, late), ""
        else:
            audio, text = self._model.slot(heard)
        if audio is not None:
            await self._send(events.audio_delta(audio))
        if text:
            await self._send(events.transcript_delta("output", text, *self._slot_ms(-1)))
        if self._slots.heard % round(self._pace.usage_s / self._pace.slot_s) == 0:
            await self._send(events.usage_updated(self._seconds, self._model.positions / self._server.engine.context))

    async def _message(self, message: Mapping[str, Any]) -> None:
        """Carries out what the client sent, or says why not."""
        event: Mapping[str, Any] = {}
        self._seen = time.monotonic()
        try:
            self._tap.client(message.get("text") or message.get("bytes") or "")
            if message.get("text") is None:
                raise RefusedError("The message is binary; send text.", INVALID_JSON)
            event = read_object(message["text"], self._limits.nesting)
            if self._events.take():
                raise rate_limited("There are too many events.")
            await self._do(events.parse(event))
            self._malformed = 0
        except RefusedError as refused:
            self._server.metrics.errors.labels(refused.code).inc()
            name = event.get("event_id")
            await self._send(events.error_event(refused, name if isinstance(name, str) else None), name)
            self._judge(refused)

    def _judge(self, refused: RefusedError) -> None:
        """Ends the session of a client that does not mend its ways."""
        self._malformed = self._malformed + 1 if refused.code == INVALID_JSON else 0
        now = time.monotonic()
        if refused.kind == "rate_limit_error":
            if now - self._strike < _STRIKE_S:
                raise _Closed(POLICY)
            self._strike = now
        if self._malformed >= self._limits.malformed:
            raise _Closed(POLICY)

    async def _do(self, event: events.ClientEvent) -> None:
        if isinstance(event, events.Start):
            return await self._start(event)
        if self._model is None:
            raise RefusedError("The first event is session.start.", "session_not_started", "type")
        match event:
            case events.AppendAudio():
                self._append(event.audio)
            case events.Mute() | events.Unmute():
                self._muted = isinstance(event, events.Mute)
                await self._send(
                    {"type": f"session.input_audio.{'muted' if self._muted else 'unmuted'}"}, event.event_id
                )
            case events.AppendInstructions():
                await self._instruct(event)
            case events.Update():
                await self._send({"type": "session.updated", "session": self._shown}, event.event_id)
            case events.Close():
                await self._close("close_requested", event.event_id)

    async def _start(self, event: events.Start) -> None:
        if self._model is not None:
            raise RefusedError("The session has begun already.", "session_already_started", "type")
        config, engine, limits = event.session, self._server.engine, self._limits
        calls = self._server.calls
        # The calls of a full-duplex model have no adapters.
        if config.model not in (engine.models if calls is None else (engine.model,)):
            raise RefusedError(f"The model {config.model[:100]!r} does not exist.", "model_not_found", "session.model")
        voice = config.audio.output.voice
        voice = voice.id if isinstance(voice, events.CustomVoice) else voice or _DEFAULT_VOICE
        if not engine.voices:
            raise RefusedError("This model does not speak.", param="session.model")
        if voice not in (_DEFAULT_VOICE, *engine.voices):
            known = ", ".join(engine.voices)
            raise RefusedError(f"There is no such voice; known: {known}.", param="session.audio.output.voice")
        messages = config.input or []
        texts = [config.instructions, *(message.text for message in messages)]
        if len(messages) > limits.items or any(len(text.encode()) > limits.text_bytes for text in texts):
            raise RefusedError("The session begins with too much text.", param="session.input")
        history = [Turn(m.role, m.text) for m in messages if m.role in ("user", "assistant") and m.text]
        rate = config.audio.format.rate
        chosen = None if voice == _DEFAULT_VOICE else voice
        told_by = (chosen, self._told.put_nowait, self._fac_events)
        if calls is None:
            self._model = HalfDuplex(self._server, rate, history, config.model, *told_by)
        else:
            self._model = FullDuplex(self._server, calls, rate, history, *told_by)
        told = [m.text for m in messages if m.role in ("developer", "system")]
        bound = (self._access.session or {}).get("instructions")  # of a client secret
        self._model.instructions += filter(None, [config.instructions or bound, *told])
        self._slots = Slots(rate, self._pace)
        self._shown = config.model_dump(exclude_none=True) | {
            "id": self._id,
            "status": "active",
            "expires_at": int(time.time() + limits.session_s),
            "audio": {"format": config.audio.format.model_dump(), "output": {"voice": voice}},
        }
        await self._send({"type": "session.started", "session": self._shown}, event.event_id)

    def _append(self, audio: str) -> None:
        samples = from_base64(audio, Pcm(), "audio")
        if self._audio.take(len(samples) / self._slots.size * self._pace.slot_s):
            raise rate_limited("There is too much audio.")
        self._slots.push(samples, time.monotonic())

    async def _instruct(self, event: events.AppendInstructions) -> None:
        assert self._model is not None
        size = len(event.content.encode())
        if size > self._limits.text_bytes or self._appended + size > _APPENDED * self._limits.text_bytes:
            raise RefusedError("There is too much text.", "context_length_exceeded", "content")
        self._appended += size
        self._model.instructions.append(event.content)
        names = {events.AppendThinking: "thinking", events.AppendCommentary: "commentary"}
        start_ms, end_ms = self._slot_ms(0)
        kind = f"session.{names.get(type(event), 'instructions')}.appended"
        await self._send({"type": kind, "start_ms": start_ms, "end_ms": end_ms}, event.event_id)

    def _slot_ms(self, ahead: int) -> tuple[int, int]:
        slot_ms = round(self._pace.slot_s * 1000)
        start = (self._slots.heard + ahead) * slot_ms
        return start, start + slot_ms

    async def _close(self, reason: str, event_id: str | None = None) -> None:
        if self._shown:
            await self._send(events.closed(reason, self._shown, self._seconds), event_id)
        raise _Closed(DONE)

    async def _send(self, event: ServerEvent, client_event_id: Any = None) -> None:
        named = {} if event["type"] == events.AUDIO else {"event_id": new_id("event")}
        if isinstance(client_event_id, str):
            named["client_event_id"] = client_event_id
        self._tap.server(event | named)
        try:
            text = json.dumps(event | named)
            async with asyncio.timeout(self._limits.send_s):
                await self._websocket.send_text(text)
        except TimeoutError:
            raise _Closed(OVERLOAD) from None
