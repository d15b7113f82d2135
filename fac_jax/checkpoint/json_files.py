"""JSON files of checkpoints: written for people, read strictly, value by value."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from etils import epath

from fac_jax.types import InputError

REQUIRED: Final = object()


def write_json(file: epath.PathLike, value: Any) -> None:
    """Writes JSON to be read by people too."""
    epath.Path(file).write_text(json.dumps(value, indent=2) + "\n")


def read_json(file: epath.PathLike) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      InputError: the file is missing, cannot be read, is not JSON or holds something else than an object.
    """
    try:
        value = json.loads(epath.Path(file).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:  # both of decoding and of parsing are ValueErrors
        raise InputError(f"{file}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{file}: must hold a JSON object, holds a {type(value).__name__}")
    return value


class Section:
    """One object of a config.json, whose values are checked as they are asked for.

    A value that is null counts as absent where there is a default, as in transformers. All methods raise `InputError`
    with the file and the key where a value is missing or of another kind.
    """

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        """`where` names the file, and the key of the object in it."""
        self.values, self.where = values, where

    def section(self, key: str, default: Any = REQUIRED) -> "Section":
        """An object within."""
        values = self._value(key, default, "an object", lambda value: isinstance(value, Mapping))
        return Section(values, f"{self.where}{'.' if ': ' in self.where else ': '}{key}")

    def size(self, key: str, default: Any = REQUIRED) -> int:
        """A whole number above 0."""
        return self._value(key, default, "a whole number above 0", lambda value: type(value) is int and value > 0)

    def id(self, key: str) -> int:
        """A whole number."""
        return self._value(key, REQUIRED, "a whole number", lambda value: type(value) is int and value >= 0)

    def number(self, key: str, default: Any = REQUIRED) -> float:
        """A finite number."""
        return self._value(key, default, "a finite number", _is_finite)

    def positive(self, key: str, default: Any = REQUIRED) -> float:
        """A finite number above 0."""
        return self._value(key, default, "a finite number above 0", lambda value: _is_finite(value) and value > 0)

    def flag(self, key: str, default: Any = REQUIRED) -> bool:
        """True or false."""
        return self._value(key, default, "true or false", lambda value: type(value) is bool)

    def numbers(self, key: str, default: Any = REQUIRED) -> tuple[int, ...]:
        """Whole numbers."""
        fits = lambda value: isinstance(value, list | tuple) and all(type(one) is int for one in value)  # noqa: E731
        return tuple(self._value(key, default, "a list of whole numbers", fits))

    def words(self, key: str) -> tuple[str, ...]:
        """Strings."""
        fits = lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)  # noqa: E731
        return tuple(self._value(key, REQUIRED, "a list of strings", fits))

    def word(self, key: str, default: Any = REQUIRED) -> str:
        """A string."""
        return self._value(key, default, "a string", lambda value: isinstance(value, str))

    def _value(self, key: str, default: Any, wanted: str, fits: Callable[[Any], bool]) -> Any:
        value = self.values.get(key)
        if value is None and default is not REQUIRED:
            return default
        if key not in self.values:
            raise InputError(f"{self.where}: key {key!r} is missing")
        if not fits(value):
            raise InputError(f"{self.where}: {key} is {json.dumps(value)[:50]}, must be {wanted}")
        return value


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
