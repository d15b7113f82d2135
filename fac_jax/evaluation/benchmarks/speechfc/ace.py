"""The `ace` checker: every parameter has one expected value, and much is not compared (docs/evaluation.md)."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from fac_jax.evaluation.benchmarks.base import RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.speechfc.calls import Call
from fac_jax.evaluation.benchmarks.speechfc.tools import Tool
from fac_jax.evaluation.benchmarks.speechfc.values import TYPES, standardized, type_of

Truth: TypeAlias = Mapping[str, Mapping[str, Any]]


class _Enum:
    """Type of an enum's values. Quirk of the official checker: no value has it."""


_LISTS: Final = ("list", "list(string)", "list(enum)", "objectArray")
_TYPES: Final = TYPES | dict.fromkeys(_LISTS, list) | {"object": dict, "int": int, "enum": _Enum}
_WITH_INNER_TYPE: Final = ("array", "tuple", "list(string)", "list(enum)", "object", "objectArray")


def check(
    tools: Sequence[Tool], calls: Sequence[Call], truth: Truth | Sequence[Truth], test_category: str, rules: Rules
) -> str | None:
    """Returns the official error type of the calls of a reply, or None if they are right.

    Args:
      truth: expected calls, function name -> parameter -> value; or a list of alternatives, one of which must match.
        The names of several calls of one function end in _1, _2, ...
      test_category: texts must be equal if it contains "agent"; otherwise the expected text must be a part.
      rules: "strict" compares numbers, booleans and enums as well.

    Raises:
      RowRefusedError: nothing is expected, or no tool has the name of an expected call.
      KeyError, TypeError, AttributeError, IndexError: the schema or the truth are malformed.
    """
    if isinstance(truth, Mapping):
        return _check_alternative(tools, calls, truth, test_category, rules)
    if not truth:
        raise RowRefusedError("the list of alternatives is empty")
    first_error = None
    for alternative in truth:
        error = _check_alternative(tools, calls, alternative, test_category, rules)
        if error is None:
            return None
        first_error = first_error or error
    return first_error


def _check_alternative(
    tools: Sequence[Tool], calls: Sequence[Call], truth: Truth, test_category: str, rules: Rules
) -> str | None:
    if len(calls) != len(truth):
        return "wrong functions number"
    if not truth:
        raise RowRefusedError("no call is expected")
    names = [re.sub(r"_\d+$", "", key) if len(truth) > 1 else key for key in truth]
    if Counter(call.name for call in calls) != Counter(names):
        return "function_mismatch"
    for (key, values), name in zip(truth.items(), names, strict=True):
        # Quirk of the official checker: the first tool whose name is a part of the expected one.
        tool = next((tool for tool in tools if tool["name"] in key), None)
        if tool is None:
            raise RowRefusedError(f"no tool fits the expected name {key!r}")
        error = None
        # Quirk of the official checker: one call may match several expected ones; the error is that of the last call.
        for call in calls:
            if call.name == name:
                error = _check_call(tool, call, values, test_category, rules)
                if error is None:
                    break
            else:
                error = "simple_function_checker:unclear"
        if error is not None:
            return error
    return None


def _check_call(tool: Tool, call: Call, truth: Mapping[str, Any], test_category: str, rules: Rules) -> str | None:
    parameters = tool["parameters"]
    if not call.arguments or not parameters:
        return None if not call.arguments and not parameters else "wrong_param"
    properties = parameters["properties"]
    # Quirk of the official checker: a truth that repeats the schema accepts any arguments.
    if truth == properties:
        return None
    if not truth:
        return "wrong_param"
    if call.name != tool["name"]:
        return "wrong_function_name"
    if any(parameter not in call.arguments for parameter in parameters["required"]):
        return "lack_args"
    # Quirk of the official checker: expected parameters that are not given are not missed unless they are required.
    for parameter, value in call.arguments.items():
        if parameter not in properties or parameter not in truth:
            return "addition_args"
        error = _check_value(value, truth[parameter], properties[parameter], test_category, rules)
        if error is not None:
            return error
    return None


def _check_value(value: Any, truth: Any, schema: Mapping[str, Any], test_category: str, rules: Rules) -> str | None:
    schema_type = schema["type"]
    expected = _TYPES[schema_type]
    inner = _TYPES[_inner_type(schema)] if schema_type in _WITH_INNER_TYPE else None
    truth_type = type(truth) if truth != "" else None
    read = _read_boolean(value)
    given = type_of(read, schema_type)
    other_type = truth_type is not None and truth_type is not expected
    if given is expected:
        if inner is not None and not _inner_types_pass(read, truth, inner):
            return "type_error"
    elif truth_type is not None and (given is truth_type or read == truth):
        other_type = True
    else:
        return "type_error"
    if rules == "strict" and (expected in (int, float, bool, _Enum) or isinstance(truth, (int, float))):
        return None if _equal(read, truth) else "value_error:others"
    # Quirk of the official checker: a truth of another type than the schema's is not compared, nor are numbers,
    # booleans and enums.
    if other_type:
        return None
    if expected is dict:
        return _check_dict(value, truth)
    if inner is dict:
        return _check_dicts(value, truth, schema_type)
    if expected is list:
        same = [standardized(item) for item in value] == [standardized(item) for item in truth]
        return None if same else "value_error:list/tuple"
    if expected is str:
        expected_text, text = standardized(truth), standardized(value)
        same = expected_text == text if "agent" in test_category else expected_text in text
        return None if same else "value_error:string"
    return None


def _inner_type(schema: Mapping[str, Any]) -> str:
    items = schema.get("items")
    if isinstance(items, Mapping) and "type" in items:
        return items["type"]
    return next((name for name in ("string", "enum") if name in schema["type"]), "dict")


def _inner_types_pass(value: Any, truth: Any, inner: type) -> bool:
    """Whether the items have an accepted type.

    Quirk of the official checker: an expected item that is no list accepts all, an empty truth accepts nothing.
    """
    return any(
        not isinstance(expected, list) or all(type(_read_boolean(item)) in (inner, list) for item in value)
        for expected in truth
    )


def _read_boolean(value: Any) -> Any:
    """Returns a boolean for the texts "true" and "false", every other value as it is."""
    return {"true": True, "false": False}[value] if value in ("true", "false") else value


def _equal(value: Any, truth: Any) -> bool:
    """Whether two values are equal, texts after standardization; a number is no boolean."""
    return isinstance(value, bool) == isinstance(truth, bool) and standardized(value) == standardized(truth)


def _check_dicts(value: Sequence[Any], truth: Sequence[Any], schema_type: str) -> str | None:
    if schema_type == "objectArray":
        if len(value) != len(truth):
            return "value_error:dict_items"
        raise RowRefusedError("items of an objectArray cannot be compared")
    if len(value) != len(truth):
        return "value_error:list_dict_count"
    errors = (_check_dict(item, expected) for item, expected in zip(value, truth, strict=True))
    return next((error for error in errors if error is not None), None)


def _check_dict(value: Any, truth: Any) -> str | None:
    if not isinstance(value, dict) or value.keys() != truth.keys():
        return "value_error"
    for key, expected in truth.items():
        given = _read_boolean(value[key])
        if isinstance(expected, dict):
            error = _check_dict(given, expected)
            if error is not None:
                return error
        # Quirk of the official checker: 10 is a part of 100.
        elif str(standardized(expected)) not in str(standardized(given)):
            return "value_error"
    return None
