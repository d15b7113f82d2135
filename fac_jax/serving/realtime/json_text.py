"""Reads the JSON of clients, which is not to be trusted."""

import json
import re
from typing import Any, Final, NoReturn

from fac_jax.serving.realtime.refused import INVALID_JSON, RefusedError

_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of a half character; two halves make one


def read_object(text: str, nesting: int) -> dict[str, Any]:
    """Parses a message that has to be a JSON object.

    Raises:
      RefusedError: it is no JSON, no object, nested deeper than `nesting`, or holds what JSON does not have: NaN and
        infinities, a key twice in an object, half a character.
    """
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_object)
    except RecursionError:
        raise RefusedError("The message is nested too deeply.", INVALID_JSON) from None
    except ValueError:  # also an integer of thousands of digits
        raise RefusedError("The message is no JSON.", INVALID_JSON) from None
    if not isinstance(value, dict):
        raise RefusedError("The message is no JSON object.", INVALID_JSON)
    if _depth(value) > nesting:
        raise RefusedError(f"The message is nested deeper than {nesting}.", INVALID_JSON)
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RefusedError("The message holds half a Unicode character.", INVALID_JSON) from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RefusedError("The message has an object with the same key twice.", INVALID_JSON)
    return found


def _no_constant(name: str) -> NoReturn:
    raise RefusedError(f"The message holds {name}, which JSON does not have.", INVALID_JSON)


def _depth(value: dict[str, Any]) -> int:
    """Returns how deeply objects and lists are nested; 1 for an object of plain values."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inside = (child for one in level for child in (one.values() if isinstance(one, dict) else one))
        level = [child for child in inside if isinstance(child, dict | list)]
    return depth
