"""Types and texts of argument values, as both checkers see them."""

import re
from typing import Any, Final

TYPES: Final[dict[str, type]] = {
    "string": str,
    "any": str,
    "integer": int,
    "number": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
}
"""Python type of the values of each type in a schema. Quirk of the official scorer: number means int, any means str."""


def type_of(value: Any, schema_type: str) -> type:
    """Returns the type of a value; a whole number for a parameter of type float counts as float."""
    return float if schema_type == "float" and type(value) is int else type(value)


def standardized(value: Any) -> Any:
    r"""Returns a text in lower case, without blanks and , . / - _ * ^, with " for '; other values as they are."""
    return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"') if isinstance(value, str) else value
