"""`/health`, `/ready` and `/metrics`, for those who look after the server; they need no key."""

import asyncio

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from fac_jax.serving.metrics import CONTENT_TYPE
from fac_jax.serving.security import Gate
from fac_jax.serving.server import Server


def health_router(server: Server, gate: Gate) -> APIRouter:
    """Returns the endpoints."""
    router = APIRouter()

    def said(holds: bool, yes: str, no: str) -> JSONResponse:
        return JSONResponse({"status": yes if holds else no}, 200 if holds else 503)

    @router.get("/health", responses={503: {"description": "The engine hangs"}})
    async def health() -> Response:
        """Tells whether the process and its engine thread live; restart it if not."""
        return said(server.engine.alive, "ok", "engine hangs")

    @router.get("/ready", responses={503: {"description": "Send nobody here now"}})
    async def ready() -> Response:
        """Tells whether another talk has room: the warm-up is over, a place is free, and the server is not stopping."""
        if gate.draining:
            return said(False, "", "draining")
        return said(server.engine.ready, "ready", "no place is free")

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Shows the metrics in prometheus' text format."""
        server.metrics.tasks.set(len(asyncio.all_tasks()))
        return Response(server.metrics.text(), headers={"content-type": CONTENT_TYPE})

    return router
