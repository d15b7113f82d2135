"""Answers to clients that may go, or not read, while they are being made."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from fac_jax.serving.web.errors import ApiError

Made = TypeVar("Made")


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def while_there(receive: Receive, work: Coroutine[Any, Any, Made]) -> Made:
    """Returns what `work` makes; `work` is cancelled when the client goes. The request's body has been read.

    Raises:
      ApiError: 499, to nobody: the client has gone.
    """
    making, gone = asyncio.create_task(work), asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait({making, gone}, return_when=asyncio.FIRST_COMPLETED)
        if making.done():
            return making.result()
    finally:
        for task in (making, gone):
            task.cancel()
        await asyncio.wait({making, gone})
    raise ApiError(499, "The client has gone.", "client_gone")


class EventStream(Response):
    """Server-sent events, each of which has `data` alone.

    The events and `until` are closed at the end, or when the client goes or takes longer than `send_s` seconds to read
    what was sent.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None], send_s: float, until: contextlib.ExitStack) -> None:
        super().__init__(None, 200, {"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._events, self._send_s, self._until = events, send_s, until

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        with self._until, contextlib.suppress(ApiError, TimeoutError):
            await while_there(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async def part(body: bytes, more: bool) -> None:
            async with asyncio.timeout(self._send_s):
                await send({"type": "http.response.body", "body": body, "more_body": more})

        async with contextlib.aclosing(self._events):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for event in self._events:
                await part(f"data: {event}\n\n".encode(), True)
            await part(b"", False)
