"""Checks objects of clients against pydantic models, and tells what is wrong with the path of the field."""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fac_jax.serving.realtime.refused import INVALID_TYPE, INVALID_VALUE, MISSING, RefusedError

M = TypeVar("M", bound="Fields")

_LONGEST: Final = 200  # characters of a path, in which keys of the client can be
_TYPES: Final = ("_type", "_parsing", "is_instance_of")


class Fields(BaseModel):
    """An object of a client: no value is converted, and fields that are not known are left out."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


def checked(model: type[M], value: Mapping[str, Any], path: str = "") -> M:
    """Returns an object as a model.

    Args:
      model: what it has to be.
      value: the object.
      path: of the object in the event, for messages.

    Raises:
      RefusedError: a field is missing, of another type, or has a wrong value.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    param = _path(path, first["loc"])
    if first["type"] == "missing":
        raise RefusedError(f"Missing required parameter: '{param}'.", MISSING, param)
    code = INVALID_TYPE if first["type"].endswith(_TYPES) else INVALID_VALUE
    raise RefusedError(f"Invalid '{param}': {first['msg']}.", code, param)


def _path(start: str, places: tuple[int | str, ...]) -> str:
    """Writes a path as OpenAI does: `item.content[0].text`.

    Places that pydantic adds for the members of a union are left out: names of models, and `literal[..]`.
    """
    path = start
    for place in places:
        if isinstance(place, str) and (place[:1].isupper() or "[" in place):
            continue
        if isinstance(place, int):
            path += f"[{place}]"
        else:
            path += f".{place}" if path else place
    return path[:_LONGEST]
