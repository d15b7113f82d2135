"""`POST /v1/realtime/client_secrets`: keys of one connection, which a web page may see."""

from typing import Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.server_events import new_id
from fac_jax.serving.realtime.settings import Settings
from fac_jax.serving.realtime.settings_change import changed
from fac_jax.serving.security import Gate
from fac_jax.serving.server import Server
from fac_jax.serving.web.body import Body, JsonObject, Whole, read
from fac_jax.serving.web.errors import invalid, model_not_found
from fac_jax.serving.web.openapi import answers, takes

LONGEST_S: Final = 7200


class ExpiresAfter(Body):
    """When the secret expires; later than the server's limit counts as that."""

    anchor: Literal["created_at"] = "created_at"
    seconds: Whole = Field(LONGEST_S, ge=10, le=LONGEST_S)


class SecretRequest(Body):
    """Asks for a secret; its connection begins with the fields of `session`."""

    expires_after: ExpiresAfter | None = None
    session: JsonObject | None = None


def secrets_router(server: Server, gate: Gate) -> APIRouter:
    """Returns the endpoint."""
    router, engine, limits = APIRouter(), server.engine, server.config.limits

    @router.post(
        "/v1/realtime/client_secrets", responses=answers(400, 404, 408, 413), openapi_extra=takes(SecretRequest)
    )
    async def create(request: Request) -> dict[str, Any]:
        """Makes a client secret."""
        client = gate.client(request.headers)
        asked = await read(request, SecretRequest)
        session = {"type": "realtime", "model": engine.model} | (asked.session or {})
        if session["type"] != "realtime":
            text = "Sessions are of the type realtime."
            raise invalid(text, "session.type", "unsupported_session_type")
        if session["model"] not in engine.models:
            raise model_not_found(str(session["model"]))
        try:
            settings, _ = changed(Settings(), session, "session", engine.voices, limits)
        except RefusedError as refused:
            raise invalid(refused.message, refused.param, refused.code) from None
        seconds = min((asked.expires_after.seconds if asked.expires_after else LONGEST_S), limits.secret_s)
        secret, expires_at = gate.new_secret(client, session, seconds)
        shown = settings.shown() | {
            "type": "realtime",
            "object": "realtime.session",
            "id": new_id("sess"),
            "model": session["model"],
        }
        return {"value": secret, "expires_at": expires_at, "session": shown}

    return router
