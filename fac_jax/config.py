"""Nested config values as frozen dataclasses."""

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from fac_jax.types import InputError

T = TypeVar("T")


def from_values(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    """A frozen dataclass, its fields frozen dataclasses or dicts of them too, from nested dicts.

    Raises:
      InputError: a key that the dataclass does not have, or one without default that is missing; names it in full.
    """
    fields = {field.name: field for field in dataclasses.fields(typing.cast(Any, kind))}
    if not isinstance(values, Mapping):
        raise InputError(f"config key {where} is {values!r}: give keys and values; known: {', '.join(fields)}")
    unknown = [key for key in values if key not in fields]
    if unknown:
        raise InputError(f"unknown config key {where}.{unknown[0]}; known: {', '.join(fields)}")
    required = [
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in values]
    if missing:
        raise InputError(f"config key {where}.{missing[0]} is missing")
    hints = typing.get_type_hints(kind)

    def convert(key: str, value: Any) -> Any:
        if typing.get_origin(hints[key]) in (dict, Mapping) and dataclasses.is_dataclass(
            typing.get_args(hints[key])[1]
        ):
            named = typing.cast(type, typing.get_args(hints[key])[1])
            return {name: from_values(named, one, f"{where}.{key}.{name}") for name, one in value.items()}
        inner = [t for t in (hints[key], *typing.get_args(hints[key])) if dataclasses.is_dataclass(t)]
        if len(inner) > 1 and isinstance(value, dict):
            kinds: dict[str, Any] = {typing.cast(Any, one).kind: one for one in inner}
            if value.get("kind") not in kinds:
                raise InputError(f"config key {where}.{key}.kind is {value.get('kind')!r}; known: {', '.join(kinds)}")
            values = {name: one for name, one in value.items() if name != "kind"}
            return from_values(kinds[value["kind"]], values, f"{where}.{key}")
        if inner and isinstance(value, dict):
            return from_values(typing.cast(type, inner[0]), value, f"{where}.{key}")
        return value

    return kind(**{key: convert(key, value) for key, value in values.items()})
