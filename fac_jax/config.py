"""Configs as frozen dataclasses, as nested dicts ("trees") and as ConfigDicts: one converter for every config.

A tree holds every field of its dataclass. A field without a value is None there, and takes its default when the tree
becomes a dataclass again. A field whose type is one of several dataclasses (the losses of a stage) is a dict with the
key "kind", and with the fields of all of these dataclasses, so that any of them can be set on the command line.
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar, Union, cast

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from fac_jax.types import InputError

T = TypeVar("T")
KIND: Final = "kind"  # key that names the dataclass of a union


def to_tree(config: Any) -> dict[str, Any]:
    """Returns every field of a dataclass as a nested dict of plain values; the inverse of `from_tree`.

    A union's dict has the fields of its own dataclass only.
    """
    tree = {name: _plain(getattr(config, name)) for name in _hints(type(config))}
    kind = getattr(config, KIND, None)
    return {KIND: kind, **tree} if kind is not None and KIND not in tree else tree


def from_tree(cls: type[T], tree: Mapping[str, Any], where: str = "") -> T:
    """Builds a frozen dataclass from a nested dict.

    Args:
      tree: its fields; absent ones and those that are None take their defaults.
      where: dotted key of the tree in its config, which errors begin with.

    Raises:
      InputError: an unknown key (with the nearest known one), a value of another type, or a required key that is
        missing; names the whole key.
    """
    return cast(T, _dataclass(cls, tree, where))


def to_config_dict(config: Any, unset: bool = False) -> ConfigDict:
    """Returns a locked ConfigDict in which every field of a dataclass can be set.

    Fields without a value, and fields of a union's other dataclasses, are typed placeholders.

    With `unset`, `config` is the type of a dataclass, and every field is left without a value.
    """
    cls, values = (config, {}) if unset else (type(config), to_tree(config))
    return ConfigDict(_settable(cls, values))


def known_keys(tree: Any, where: str = "") -> Iterator[str]:
    """Yields the dotted keys of a nested dict or ConfigDict, its inner nodes included."""
    for key in tree:
        name = _joined(where, str(key))
        yield name
        value = tree.get_oneway_ref(key).get() if isinstance(tree, ConfigDict) else tree[key]
        if isinstance(value, dict | ConfigDict):
            yield from known_keys(value, name)


def nearest(key: str, known: typing.Iterable[str]) -> str:
    """Returns "; did you mean KEY?" for the nearest of the known keys, or the list of all of them."""
    names = list(known)
    near = difflib.get_close_matches(key, names, 1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names)}"


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    """Types of the fields of a dataclass by their names."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_tree(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, tuple | list) else value


def _members(hint: Any) -> tuple[Any, ...]:
    """The types of a union, without None."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return tuple(one for one in typing.get_args(hint) if one is not type(None))
    return (hint,)


def _kinds(hint: Any) -> dict[str, type]:
    """The dataclasses of a union of several by their kinds; empty for any other type."""
    found: list[Any] = [one for one in _members(hint) if dataclasses.is_dataclass(one)]
    return {one.kind: one for one in found} if len(found) > 1 else {}


def _joined(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _dataclass(cls: Any, tree: Any, where: str) -> Any:
    hints = _hints(cls)
    if not isinstance(tree, Mapping):
        raise InputError(f"config key {where} is {tree!r}: give keys and values; known: {', '.join(hints)}")
    unknown = [key for key in tree if key not in hints and not (key == KIND and tree[key] == getattr(cls, KIND, None))]
    if unknown:
        raise InputError(f"unknown config key {_joined(where, unknown[0])}{nearest(unknown[0], hints)}")
    optional = {name for name, hint in hints.items() if type(None) in typing.get_args(hint)}
    given = {key: one for key, one in tree.items() if key in hints and (one is not None or key in optional)}
    for field in dataclasses.fields(cls):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if field.init and not has_default and field.name not in given:
            raise InputError(f"config key {_joined(where, field.name)} is missing")
    return cls(**{key: _value(hints[key], value, _joined(where, key)) for key, value in given.items()})


def is_unset(value: Any) -> bool:
    """Returns whether a value of a tree, with all that is in it, is None."""
    return value is None or (
        isinstance(value, Mapping) and bool(value) and all(is_unset(one) for one in value.values())
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if type(None) in typing.get_args(hint) and value != {} and is_unset(value):  # {} asks for all defaults
        return None
    if dataclasses.is_dataclass(value):
        return value
    if kinds := _kinds(hint):
        return _union(kinds, value, where)
    members = _members(hint)
    (member,) = members if len(members) == 1 else (next((m for m in members if _accepts(m, value)), members[0]),)
    origin = typing.get_origin(member)
    if dataclasses.is_dataclass(member):
        return _dataclass(member, value, where)
    if member is Any:
        return value
    if origin is Literal:
        if value not in typing.get_args(member):
            raise InputError(f"config key {where} is {value!r}; known: {', '.join(map(str, typing.get_args(member)))}")
        return value
    if origin in (tuple, Sequence) and isinstance(value, tuple | list):
        return _tuple(member, value, where)
    if origin is not None and issubclass(origin, Mapping) and isinstance(value, Mapping):
        inner = typing.get_args(member)[1]
        return {key: _value(inner, one, _joined(where, str(key))) for key, one in value.items() if one is not None}
    if origin is None and _accepts(member, value):
        return float(value) if member is float else value
    raise InputError(f"config key {where} must be {_called(member)}; it is {value!r}")


def _accepts(member: Any, value: Any) -> bool:
    if isinstance(value, bool):
        return member is bool
    if member is float:
        return isinstance(value, int | float) and not math.isnan(value)
    return isinstance(value, typing.get_origin(member) or member)


def _called(member: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "True or False"}
    return names.get(member, str(member).replace("typing.", ""))


def _tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    inner = typing.get_args(hint)
    if typing.get_origin(hint) is Sequence or inner[1:] == (Ellipsis,):
        return tuple(_value(inner[0], one, f"{where}[{i}]") for i, one in enumerate(value))
    if len(inner) != len(value):
        raise InputError(f"config key {where} must have {len(inner)} entries; it is {tuple(value)!r}")
    return tuple(_value(one, given, f"{where}[{i}]") for i, (one, given) in enumerate(zip(inner, value, strict=True)))


def _union(kinds: Mapping[str, type], value: Any, where: str) -> Any:
    if not isinstance(value, Mapping) or value.get(KIND) not in kinds:
        found = value.get(KIND) if isinstance(value, Mapping) else value
        raise InputError(f"config key {where}.{KIND} is {found!r}; known: {', '.join(kinds)}")
    cls = kinds[value[KIND]]
    fields = _hints(cls)
    given = {key: one for key, one in value.items() if key != KIND}
    for key, one in given.items():
        owners = [kind for kind, other in kinds.items() if key in _hints(other)]
        if key not in fields and owners and not is_unset(one):
            raise InputError(f"config key {where}.{key} belongs to {KIND} {owners[0]!r}, this one is {value[KIND]!r}")
    return _dataclass(cls, {key: one for key, one in given.items() if key in fields or not is_unset(one)}, where)


def _settable(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values and placeholders of every field of a dataclass."""
    return {name: _leaf(hint, values.get(name)) for name, hint in _hints(cls).items()}


def _leaf(hint: Any, value: Any) -> Any:
    given = value if isinstance(value, Mapping) else {}
    if kinds := _kinds(hint):
        tree: dict[str, Any] = {KIND: given.get(KIND, placeholder(str))}
        for kind, cls in kinds.items():
            # Unset stands for the default, so that another kind can be chosen by its name alone.
            defaults = {field.name: field.default for field in dataclasses.fields(cls)}
            same = kind == given.get(KIND)
            own = {key: one for key, one in given.items() if same and one != defaults.get(key)}
            tree = tree | _settable(cls, own) if own else _settable(cls, {}) | tree
        return tree
    member = _members(hint)[0]
    if dataclasses.is_dataclass(member):
        return _settable(member, given)
    if value is None:
        return placeholder(_placed(member))
    if isinstance(value, Mapping):
        inner = typing.get_args(member)[1]
        return {key: _leaf(inner, one) for key, one in value.items()}
    return float(value) if member is float else value


def _placed(member: Any) -> type:
    """Type of the values that a placeholder takes."""
    origin = typing.get_origin(member)
    if origin is Literal:
        return type(typing.get_args(member)[0])
    return tuple if origin in (tuple, Sequence) else member if origin is None and member is not Any else object
