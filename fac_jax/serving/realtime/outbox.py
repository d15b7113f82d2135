"""Sends the events of a session, and bears with readers that are slow, up to a limit."""

import asyncio
import contextlib
import dataclasses
import json
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.websockets import WebSocket

from fac_jax.serving.config import Limits

OVERLOAD: Final = 1013  # close code
BUSY_BYTES: Final = 256 << 10  # that wait where the engine need not hurry

_CLOSE_S: Final = 1.0
_AUDIO: Final = "response.output_audio.delta"


@dataclasses.dataclass(frozen=True)
class _Message:
    """A message that waits; `audio_of` is the response whose audio it is."""

    text: str
    audio_of: str | None

    @property
    def size(self) -> int:
        return len(self.text)


class Outbox:
    """What waits to be sent to one client."""

    def __init__(self, websocket: WebSocket, limits: Limits, record: Callable[[Mapping[str, Any]], None]) -> None:
        """Begins empty; `record` is told every event."""
        self._websocket, self._limits, self._record = websocket, limits, record
        self._waiting: deque[_Message] = deque()
        self._bytes = 0
        self._close_code: int | None = None
        self._overload = False
        self._changed = asyncio.Event()

    @property
    def overloaded(self) -> bool:
        """Returns whether the reader was too slow."""
        return self._overload

    @property
    def busy(self) -> bool:
        """Returns whether the reader is behind."""
        return self._bytes > BUSY_BYTES

    def put(self, event: Mapping[str, Any]) -> None:
        """Sends an event behind the others; too many of them close the connection."""
        self._record(event)
        audio_of = event["response_id"] if event["type"] == _AUDIO else None
        message = _Message(json.dumps(event, ensure_ascii=False, separators=(",", ":")), audio_of)
        self._waiting.append(message)
        self._bytes += message.size
        if self._bytes > self._limits.queue_bytes:
            self._overload = True
        self._changed.set()

    def drop_audio(self, response_id: str) -> None:
        """Forgets the audio of a response that still waits."""
        kept = [message for message in self._waiting if message.audio_of != response_id]
        self._waiting = deque(kept)
        self._bytes = sum(message.size for message in kept)

    def close(self, code: int) -> None:
        """Closes the connection once everything has been sent."""
        self._close_code = code
        self._changed.set()

    async def run(self) -> None:
        """Sends until the connection is closed.

        Raises:
          WebSocketDisconnect: the client is gone.
        """
        while not self._overload:
            if not self._waiting:
                if self._close_code is not None:
                    return await self.end(self._close_code)
                self._changed.clear()
                await self._changed.wait()
                continue
            message = self._waiting.popleft()
            self._bytes -= message.size
            try:
                async with asyncio.timeout(self._limits.send_s):
                    await self._websocket.send_text(message.text)
            except TimeoutError:
                self._overload = True
        await self.end(OVERLOAD)

    async def end(self, code: int) -> None:
        """Closes the connection now, if the client takes that."""
        with contextlib.suppress(TimeoutError, RuntimeError):  # a reader that takes nothing does not take this either
            async with asyncio.timeout(_CLOSE_S):
                await self._websocket.close(code)
