"""`GET /v1/realtime`: one connection of the realtime protocol (docs/serving.md)."""

import time
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from fac_jax.serving import logs
from fac_jax.serving.realtime.driver import Clock, Driver, LoopClock
from fac_jax.serving.realtime.outbox import Outbox
from fac_jax.serving.realtime.session import Session
from fac_jax.serving.security import Access
from fac_jax.serving.server import Server

STEPS: Final = "fac"  # value of the query's `events` for the events `fac.*`


async def realtime(websocket: WebSocket, server: Server, access: Access, clock: Clock | None = None) -> None:
    """Accepts a connection that was let in, and talks until it is closed.

    Cancelled, it leaves the closing to the caller.

    Args:
      websocket: that is not accepted yet.
      server: engine, settings and detectors.
      access: who comes, and the session fields that a client secret is bound to.
      clock: time; that of the event loop if absent.

    Raises:
      WebSocketDisconnect: the client is gone.
    """
    await websocket.accept(access.subprotocol)
    clock = clock or LoopClock()
    steps = websocket.query_params.get("events") == STEPS
    session = Session(server, clock.time, time.time, fields=access.session, steps=steps)
    driver = Driver(session, server.engine, Outbox(websocket, server.config.limits), clock)
    logs.event("session.opened", session=session.id, client=access.client)

    async def receive() -> str | bytes:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        text = message.get("text")
        return message["bytes"] if text is None else text

    try:
        await driver.run(receive)
    finally:
        logs.event("session.closed", session=session.id, client=access.client)
