"""`GET /v1/realtime`: one connection of the realtime protocol (docs/serving.md)."""

import asyncio
import time
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from fac_jax.serving import logs
from fac_jax.serving.realtime.driver import Clock, Driver, LoopClock
from fac_jax.serving.realtime.outbox import Outbox
from fac_jax.serving.realtime.session import DONE, POLICY, Session
from fac_jax.serving.realtime.state import State
from fac_jax.serving.security import Access
from fac_jax.serving.server import Server

STEPS: Final = "fac"  # value of the query's `events` for the events `fac.*`


async def realtime(websocket: WebSocket, server: Server, access: Access, clock: Clock | None = None) -> None:
    """Accepts a connection that was let in, and talks until it is closed.

    `?session_id=` resumes a session whose connection was lost; where there is none that this client can resume, a new
    one begins, whose id is another. Cancelled, it leaves the closing to the caller.

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
    wanted, resumable = websocket.query_params.get("session_id"), server.resumable
    state = None if wanted is None else await resumable.take(wanted, access.client)
    if state is not None and state.model not in server.engine.models:  # of a server with other adapters
        state = None
    model = access.model or server.engine.model
    session = Session(server, clock.time, time.time, model=model, fields=access.session, steps=steps, state=state)
    tap = server.recordings.begin(session.id)
    outbox = Outbox(websocket, server.config.limits, tap.server)
    driver = Driver(session, server.engine, outbox, clock, server.rounds)
    logs.event("session.opened", session=session.id, client=access.client, resumed=state is not None)

    def state_now() -> State:
        return session.state(access.client)

    async def receive() -> str | bytes:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message["code"], message.get("reason"))
        text = message.get("text")
        received = message["bytes"] if text is None else text
        tap.client(received)
        return received

    lost = False
    with resumable.connected(session.id, access.client, driver.hand_over):
        try:
            async with resumable.saved(lambda: session.changes, state_now):
                await driver.run(receive)
            lost = outbox.overloaded or driver.handed_over
        except WebSocketDisconnect as gone:
            lost = gone.code != DONE
            raise
        except asyncio.CancelledError:
            lost = True
            raise
        finally:
            tap.close()
            if lost:
                await driver.rest()
                await resumable.park(state_now())
            else:
                await driver.leave()
                await resumable.end(session.id)
            logs.event("session.closed", session=session.id, client=access.client, resumable=lost)
    if driver.handed_over:
        await outbox.end(POLICY)
