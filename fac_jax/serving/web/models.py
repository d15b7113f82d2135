"""`GET /v1/models`: the models that are served, and what a client may use of them."""

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
    base, created = engine.model, int(time.time())
    models = {
        # A model that is the base with an adapter names the base as its parent.
        name: {"id": name, "object": "model", "created": created, "owned_by": "fac-jax"}
        | ({} if name == base else {"parent": base})
        for name in engine.models
    }

    @router.get("/v1/models", responses=answers())
    async def every(request: Request) -> dict[str, Any]:
        """Lists the models, the base first."""
        gate.client(request.headers)
        return {"object": "list", "data": list(models.values())}

    @router.get("/v1/models/{name:path}", responses=answers(404))
    async def one(request: Request, name: str) -> dict[str, Any]:
        """Tells a model's limits, its context in LLM positions, its voices, and whether talks are recorded."""
        gate.client(request.headers)
        if name not in models:
            raise model_not_found(name)
        limits = dataclasses.asdict(server.config.limits) | {"context": engine.context}
        recorded = server.record_dir is not None
        return models[name] | {"limits": limits, "voices": list(engine.voices), "recorded": recorded}

    return router
