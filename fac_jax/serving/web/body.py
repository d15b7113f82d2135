"""Reads JSON bodies into pydantic models, and says what is wrong with them."""

import json
import math
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError
from starlette.requests import Request

from fac_jax.serving.web.errors import ApiError, invalid

Parsed = TypeVar("Parsed", bound="Body")

NESTING = 32  # `Limits.nesting` of a server that was not told otherwise


class Body(BaseModel):
    """A JSON object of a client. Fields that are not known are ignored: clients send what OpenAI has."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def plain(value: Any, depth: int = NESTING) -> Any:
    """Returns a JSON value whose depth is at most `depth` and whose numbers are finite.

    Raises:
      ValueError: it is not such a value.
    """
    if depth < 0:
        raise ValueError("nested too deeply")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number that is not finite")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            plain(inner, depth - 1)
    return value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]  # JSON does not tell 3 from 3.0
JsonObject = Annotated[dict[str, Any], AfterValidator(plain)]


async def read(request: Request, model: type[Parsed]) -> Parsed:
    """Reads and checks the body of a request.

    Raises:
      ApiError: 400, with the path of the first field that is wrong; 413 or 408 while reading (`web.limits`).
    """
    body = await request.body()
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error, body) from None


def _refusal(error: ValidationError, body: bytes) -> ApiError:
    errors = error.errors(include_url=False, include_input=False, include_context=False)
    deepest = max(errors, key=lambda one: len(one["loc"]))  # of a union, that of the member which is meant
    kind, message = deepest["type"], deepest["msg"]
    if kind == "json_invalid":
        return invalid(f"The body is no JSON: {message}.", code="invalid_json")
    path = _path(deepest["loc"], json.loads(body))
    if kind in ("missing", "union_tag_not_found"):
        return invalid(f"Missing required parameter: {path}.", path, "missing_required_parameter")
    return invalid(f"{message}: {path}.", path, "invalid_type" if kind.endswith("_type") else "invalid_value")


def _path(loc: tuple[int | str, ...], document: Any) -> str | None:
    """Writes where an error is, without the names of models that pydantic puts between the fields."""
    path = ""
    for number, part in enumerate(loc):
        last = number == len(loc) - 1
        if isinstance(part, int):
            if not isinstance(document, list):
                continue
            path += f"[{part}]"
            document = document[part] if part < len(document) else None
        elif isinstance(document, dict) and (part in document or last):
            path += f".{part}" if path else part
            document = document.get(part)
    return path or None
