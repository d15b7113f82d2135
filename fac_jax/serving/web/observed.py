"""What every request and connection passes through first: its origin is checked, and its end logged and counted."""

import logging
import secrets
import time
from collections.abc import Sequence
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fac_jax.serving import logs
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.security import allowed_origin
from fac_jax.serving.web.errors import ApiError

_QUIET: Final = ("/health", "/ready", "/metrics")
_CODES: Final = (1000, 1001, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013)  # a client may send any of 4000
_PATH: Final = 200  # characters of a path in the log


class Origins:
    """Refuses requests and handshakes of web pages that may not ask (`security.allowed_origin`)."""

    def __init__(self, app: ASGIApp, origins: Sequence[str], keyless: bool) -> None:
        self._app, self._origins, self._keyless = app, origins, keyless

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403, or lets the application answer."""
        if scope["type"] in ("http", "websocket"):
            headers = Headers(scope=scope)
            origin, host = headers.get("origin"), headers.get("host", "")
            if not allowed_origin(origin, host, self._origins, self._keyless):
                error = ApiError(403, "Pages of this origin may not use the server.", "origin_not_allowed")
                return await error.response()(scope, receive, send)
        await self._app(scope, receive, send)


class Observed:
    """Gives every request an id, logs how it ended, and counts the close codes of WebSockets."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the application answer."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        began = time.monotonic()
        line: dict[str, Any] = {"id": f"req_{secrets.token_hex(8)}", "path": scope["path"][:_PATH]}

        async def observed_send(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                line["status"] = message["status"]
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = line["id"]
                headers["x-content-type-options"] = "nosniff"
            elif message["type"] == "websocket.close":
                self._close(line, message.get("code", 1000))
            await send(message)

        async def observed_receive() -> Message:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self._close(line, message.get("code", 1005))
            return message

        try:
            await self._app(scope, observed_receive, observed_send)
        finally:
            kind = "http" if scope["type"] == "http" else "socket"
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            logs.event(f"{kind}.ended", level=level, **line, ms=round((time.monotonic() - began) * 1000))

    def _close(self, line: dict[str, Any], code: int) -> None:
        """Counts the first of the two closes, ours and the client's."""
        if "close" not in line:
            line["close"] = code
            self._metrics.closed.labels(str(code) if code in _CODES else "other").inc()
