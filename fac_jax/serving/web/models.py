"""`GET /v1/models`: the model that is served, and what a client may use of it."""

import dataclasses
import time
from typing import Any

from fastapi import APIRouter, Request

from fac_jax.serving.security import Gate
from fac_jax.serving.server import Server
from fac_jax.serving.web.errors import model_not_found
from fac_jax.serving.web.openapi import answers


def models_router(server: Server, gate: Gate) -> APIRouter:
    """Returns the endpoints."""
    router, engine = APIRouter(), server.engine
    model = {"id": engine.model, "object": "model", "created": int(time.time()), "owned_by": "fac-jax"}

    @router.get("/v1/models", responses=answers())
    async def models(request: Request) -> dict[str, Any]:
        """Lists the model."""
        gate.client(request.headers)
        return {"object": "list", "data": [model]}

    @router.get("/v1/models/{name:path}", responses=answers(404))
    async def one(request: Request, name: str) -> dict[str, Any]:
        """Tells the model's limits, its context in LLM positions, its voices, and whether talks are recorded."""
        gate.client(request.headers)
        if name != engine.model:
            raise model_not_found(name)
        limits = dataclasses.asdict(server.config.limits) | {"context": engine.context}
        recorded = server.record_dir is not None
        return model | {"limits": limits, "voices": list(engine.voices), "recorded": recorded}

    return router
