"""A client of the load test.

It sends a spoken question and then silence, as a microphone does, hears the reply to its end, waits a little and asks
again. A question begins where frames of a detector begin, after some silence, so that a server hears the same samples
in each of them. A client whose connection is lost resumes its session. It uses plain WebSockets, so that what it
measures is the server and not a library.
"""

import asyncio
import base64
import dataclasses
import itertools
import json
import time
from collections import Counter
from typing import Any, Final

import numpy as np
from jaxtyping import Float32
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from fac_jax.serving.load.figures import PlayOut, Turn

RATE: Final = 24_000  # Hz, of PCM16 in both directions
PIECE_S: Final = 0.04  # seconds of audio in an event
ROUND: Final = 4  # pieces after which frames of 32 ms begin with a piece again
LEAD: Final = 2 * ROUND  # silent pieces before a question, more than a turn takes of what is before it
RETRY_S: Final = 1.0  # after a connection that was lost
NOT_ACTIVE: Final = "response_cancel_not_active"


@dataclasses.dataclass(frozen=True, eq=False)
class Load:
    """A load test.

    Attributes:
      url: of the server, `ws://host:port`, with or without path and query.
      wave: a spoken question at 24 kHz.
      sessions: talks at once, at most 1000.
      seconds: after which no question is asked any more, at most 3600.
      cancelling: share of the sessions, rounded up, that cancel every reply at its first audio.
      vanishing: share of the sessions, rounded up, whose connection breaks at the first audio of every reply; they
        resume at once.
      speed: of speech and pauses, in times of real time; replies are played in real time.
      wait_s: seconds from the end of a question to the end of its reply; more is an error.
      buffer_s: audio that a client gathers before it plays a reply.
      key: of the server.
      seed: of the pauses.
      watch_s: seconds between looks at what the server holds; 0 for none.
      anywhere: whether the server may lie on another machine. Who sets it answers for loading that machine.
    """

    url: str
    wave: Float32[np.ndarray, " N"]
    sessions: int = 50
    seconds: float = 60.0
    cancelling: float = 0.0
    vanishing: float = 0.0
    speed: float = 1.0
    wait_s: float = 60.0
    buffer_s: float = 0.12
    key: str | None = None
    seed: int = 0
    watch_s: float = 0.0
    anywhere: bool = False


class Shared:
    """What the sessions of a test have in common."""

    def __init__(self, load: Load, url: str, deadline: float) -> None:
        self.load = load
        self.url = url
        self.deadline = deadline
        self.turns: list[Turn] = []
        self.errors: Counter[str] = Counter()
        self.responses: set[str] = set()  # ids, of all sessions
        self.resumed = 0
        piece = int(RATE * PIECE_S)
        pcm = np.clip(np.rint(load.wave * 32767), -32768, 32767).astype("<i2")
        pcm = np.pad(pcm, (0, -len(pcm) % piece))
        self.silence = _append(np.zeros(piece, "<i2"))
        self.speech = [self.silence] * LEAD + [_append(one) for one in pcm.reshape(-1, piece)]


def _append(samples: np.ndarray) -> str:
    audio = base64.b64encode(samples.tobytes()).decode()
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


class Client:
    """One client, over all its connections."""

    def __init__(self, shared: Shared, number: int, cancels: bool, vanishes: bool) -> None:
        self._shared = shared
        self._load = shared.load
        self._number = number
        self._cancels = cancels
        self._vanishes = vanishes
        self._rng = np.random.default_rng([shared.load.seed, number])
        self._turn = self._new_turn(0)
        self._session: str | None = None  # id of the session that goes on with the next connection
        self._sent = 0  # pieces of audio, on this connection
        self._heard_from_ms = 0  # where the server found the beginning of the user's speech
        self._open: set[str] = set()  # ids of responses that have begun and not ended

    def _new_turn(self, number: int) -> Turn:
        return Turn(self._number, number, PlayOut(self._load.buffer_s))

    async def run(self) -> None:
        """Talks until the time is over, on a new connection where one was lost; asks one question at least."""
        question = len(self._shared.speech) * PIECE_S
        await asyncio.sleep(self._rng.uniform(0, question) / self._load.speed)  # not all at once
        wait_s: float | None = 0.0
        while wait_s is not None:
            await asyncio.sleep(wait_s)
            wait_s = await self._connect()
            if time.perf_counter() + (wait_s or 0) >= self._shared.deadline:
                return

    async def _connect(self) -> float | None:
        """Talks on one connection; returns the seconds after which to connect again, None for never."""
        key = {} if self._load.key is None else {"Authorization": f"Bearer {self._load.key}"}
        options: dict[str, Any] = {"compression": None, "proxy": None, "close_timeout": 5}
        try:
            async with connect(self._url(), additional_headers=key, **options) as server:
                await self._talk(server)
                return 0.0
        except InvalidStatus as error:
            self._error(f"refused_{error.response.status_code}")
            return None
        except ConnectionClosed as error:
            self._error(f"closed_{error.rcvd.code if error.rcvd else 1006}")
        except (OSError, InvalidHandshake) as error:  # of the handshake; a timeout is an OSError
            self._error(type(error).__name__)
        return RETRY_S

    def _url(self) -> str:
        """Returns where to connect, to resume a session that was lost or to begin one."""
        if self._session is None:
            return self._shared.url
        return f"{self._shared.url}{'&' if '?' in self._shared.url else '?'}session_id={self._session}"

    async def _talk(self, server: ClientConnection) -> None:
        """Asks until the time is over, or the client vanishes."""
        self._open.clear()
        self._sent = 0
        reader = asyncio.create_task(self._read(server))
        try:
            await server.send(json.dumps(_SESSION))
            for number in itertools.count():
                self._turn = self._new_turn(number)
                self._shared.turns.append(self._turn)
                await self._ask(server, reader)
                if self._turn.outcome == "vanished" or time.perf_counter() >= self._shared.deadline:
                    return
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _ask(self, server: ClientConnection, reader: asyncio.Task[None]) -> None:
        """Asks one question and hears the reply; returns when the next one may be asked, or the client vanished."""
        turn, speech, speed = self._turn, self._shared.speech, self._load.speed
        pause = self._rng.uniform(0.0, 1.0) / speed
        began = time.perf_counter()
        for number in itertools.count():
            early = began + number * PIECE_S / speed - time.perf_counter()
            turn.late_s = max(turn.late_s, -early)
            await asyncio.sleep(max(early, 0.0))
            if reader.done():
                await reader  # raises what ended it
            await server.send(speech[number] if number < len(speech) else self._shared.silence)
            self._sent += 1
            now = time.perf_counter()
            if number == len(speech) - 1:
                turn.spoken = now
            if turn.spoken is None:
                continue
            if turn.done is not None:
                heard = turn.done if turn.outcome == "cancelled" else max(turn.done, turn.play.end)
                if now >= heard + pause and self._sent % ROUND == 0:
                    return
            elif now > turn.spoken + self._load.wait_s:
                self._error("no_turn" if turn.stopped is None else "no_reply")
                return
            elif turn.audio is not None and self._vanishes:
                turn.outcome = "vanished"
                server.transport.abort()
                return
            elif turn.audio is not None and self._cancels and turn.cancel is None:
                turn.cancel = now
                await server.send('{"type":"response.cancel"}')

    async def _read(self, server: ClientConnection) -> None:
        async for message in server:
            try:
                self._take(json.loads(message), time.perf_counter())
            except (ValueError, KeyError, TypeError):
                self._error("malformed_event")

    def _take(self, event: dict[str, Any], now: float) -> None:
        turn, kind = self._turn, event["type"]
        if kind == "session.created":
            self._shared.resumed += event["session"]["id"] == self._session
            self._session = event["session"]["id"]
        elif kind == "input_audio_buffer.speech_started":
            self._heard_from_ms = event["audio_start_ms"]
        elif kind == "input_audio_buffer.speech_stopped":
            turn.heard_ms = event["audio_end_ms"] - self._heard_from_ms
            turn.stopped = now  # a question with a long pause has two ends: the last one counts
            turn.text = turn.audio = turn.done = None
            turn.play = PlayOut(self._load.buffer_s)
        elif kind == "response.created":
            self._begin(event["response"]["id"])
        elif kind.startswith("response.") and _response(event) not in self._open:
            self._error("foreign_or_late_event")
        elif kind in ("response.output_audio_transcript.delta", "response.output_text.delta"):
            turn.text = turn.text or now
            turn.transcript += event["delta"]
        elif kind == "response.output_audio.delta":
            turn.audio = turn.audio or now
            turn.play.add(now, len(event["delta"]) * 3 // 4 / 2 / RATE)
        elif kind == "fac.step":
            turn.ids.append((event["text_id"], *event["units"]))
        elif kind == "response.done":
            self._end(event["response"], now)
        elif kind == "error" and not (self._cancels and event["error"].get("code") == NOT_ACTIVE):
            self._error(event["error"].get("code") or event["error"]["type"])

    def _begin(self, response: str) -> None:
        if response in self._shared.responses:
            self._error("foreign_or_late_event")
        self._shared.responses.add(response)
        self._open.add(response)
        self._turn.transcript = ""
        self._turn.ids = []

    def _end(self, response: dict[str, Any], now: float) -> None:
        turn, status = self._turn, response["status"]
        self._open.remove(response["id"])
        if status == "cancelled" and turn.cancel is None:
            return  # by the user's own speech: another reply follows
        turn.done = now
        turn.outcome = status
        if status == "failed":
            self._error(response["status_details"]["error"]["code"])

    def _error(self, code: str) -> None:
        self._shared.errors[code] += 1


def _response(event: dict[str, Any]) -> str:
    return event["response"]["id"] if "response" in event else event["response_id"]


_PCM: Final = {"type": "audio/pcm", "rate": RATE}
_SESSION: Final = {
    "type": "session.update",
    "session": {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {"input": {"format": _PCM, "turn_detection": {"type": "server_vad"}}, "output": {"format": _PCM}},
    },
}
