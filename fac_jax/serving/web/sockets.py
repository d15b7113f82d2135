"""The WebSocket endpoints: who comes in, what happens at a fault, and how all are closed when the server stops."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from fac_jax.serving import logs
from fac_jax.serving.live.socket import live
from fac_jax.serving.realtime.socket import realtime
from fac_jax.serving.security import Access, Gate, deny
from fac_jax.serving.server import Server
from fac_jax.serving.web.errors import ApiError

RESTART: Final = 1012
FAULT: Final = 1011
CLOSE_S: Final = 1.0  # for a close to be sent, to a client that may not read

Talk: TypeAlias = Callable[[WebSocket, Server, Access], Awaitable[None]]


class Sockets:
    """The connections of a server. A protocol accepts its socket, talks, and returns when it has closed it."""

    def __init__(self, server: Server, gate: Gate) -> None:
        self._server, self._gate = server, gate
        self._talks: dict[asyncio.Task[Any], asyncio.Future[None]] = {}  # by the task of the connection

    async def run(
        self, websocket: WebSocket, talk: Talk, model: str | None = None, session_id: str | None = None
    ) -> None:
        """Lets a connection in and talks to it, or refuses it (see `Gate.admit`)."""
        try:
            access = self._gate.admit(websocket, model, session_id)
        except ApiError as error:
            self._server.metrics.errors.labels(error.code).inc()
            return await deny(websocket, error)
        with self._gate.session(access.client):
            connection = asyncio.current_task()
            assert connection is not None
            talking = self._talks[connection] = asyncio.ensure_future(talk(websocket, self._server, access))
            try:
                await asyncio.wait({talking})
                await _end(websocket, talking)
            finally:
                del self._talks[connection]
                talking.cancel()

    async def close(self) -> None:
        """Ends all talks, and closes their connections with code 1012, at which clients connect again."""
        for talking in self._talks.values():
            talking.cancel()
        if self._talks:
            await asyncio.wait(set(self._talks))


async def _end(websocket: WebSocket, talking: "asyncio.Future[None]") -> None:
    """Closes the connection of a talk that has not done so itself."""
    code = RESTART
    if not talking.cancelled():
        error = talking.exception()
        if error is None or isinstance(error, WebSocketDisconnect):
            return
        logs.exception("socket.failed", error)
        code = FAULT
    with contextlib.suppress(WebSocketDisconnect, RuntimeError, TimeoutError):  # it may be closed, gone or not read
        async with asyncio.timeout(CLOSE_S):
            await websocket.close(code)


def sockets_router(sockets: Sockets) -> APIRouter:
    """Returns the endpoints."""
    router = APIRouter()

    @router.websocket("/v1/realtime")
    async def realtime_socket(websocket: WebSocket) -> None:
        query = websocket.query_params
        await sockets.run(websocket, realtime, query.get("model"), query.get("session_id"))

    @router.websocket("/v1/live/sessions")
    async def live_socket(websocket: WebSocket) -> None:
        await sockets.run(websocket, live)

    return router
