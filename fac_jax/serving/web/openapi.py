"""What `GET /openapi.json` says beyond what FastAPI finds out: bodies, and the errors that there are."""

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from fac_jax.serving.web.body import Body

_REF: Final = "#/components/schemas/{model}"


class Fault(BaseModel):
    """What is wrong; `code` is what programs go by."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The body of every error."""

    error: Fault


_TOLD: Final = {
    400: "A field is wrong",
    401: "The key is wrong",
    403: "The origin may not ask",
    404: "Not found",
    408: "The body took too long",
    413: "The body is too large",
    429: "Too many requests; retry-after says when",
    500: "The engine failed",
    503: "There is no room",
}


def answers(*more: int) -> dict[int | str, dict[str, Any]]:
    """Returns the errors of an endpoint that needs a key: those that all of them have, and more."""
    statuses = sorted({401, 403, 429, 500, *more})
    return {status: {"model": ErrorBody, "description": _TOLD[status]} for status in statuses}


def takes(model: type[Body]) -> dict[str, Any]:
    """Returns the description of a JSON body that the endpoint reads itself (`web.body`)."""
    schema = {"$ref": _REF.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe(app: FastAPI, *bodies: type[Body]) -> None:
    """Makes the application describe the bodies that `takes` names."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
            _, defined = models_json_schema([(body, "validation") for body in bodies], ref_template=_REF)
            schema.setdefault("components", {}).setdefault("schemas", {}).update(defined["$defs"])
            for path in schema["paths"].values():
                for endpoint in path.values():
                    endpoint["responses"].pop("422", None)  # FastAPI's own; ours are 400
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
