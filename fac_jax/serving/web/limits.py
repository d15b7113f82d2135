"""Limits the bodies of HTTP requests, while they are being read."""

import asyncio
import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fac_jax.serving.web.errors import ApiError

READ_S: Final = 60.0  # for a whole body


class BodyLimit:
    """Refuses a body that is larger than `most` bytes or takes longer than `read_s` seconds to come.

    A length that is declared is refused at once; where none is, or a wrong one, what comes is counted.
    """

    def __init__(self, app: ASGIApp, most: int, read_s: float = READ_S) -> None:
        self._app, self._most, self._read_s = app, most, read_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 413, or lets the application read."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if not declared.isdigit() or len(declared) > 18 or int(declared) > self._most:
            return await self._too_large().response()(scope, receive, send)
        read, complete, deadline = 0, False, time.monotonic() + self._read_s

        async def limited() -> Message:
            nonlocal read, complete
            if complete:  # what comes now is that the client goes
                return await receive()
            try:
                async with asyncio.timeout(deadline - time.monotonic()):
                    message = await receive()
            except TimeoutError:
                raise ApiError(408, "The body took too long to come.", "request_timeout") from None
            if message["type"] == "http.request":
                read += len(message.get("body", b""))
                complete = not message.get("more_body", False)
            if read > self._most:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"The body has more than {self._most} bytes.", "request_too_large")
