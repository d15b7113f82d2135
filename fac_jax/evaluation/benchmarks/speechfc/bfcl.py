"""The `bfcl` checker: each parameter has a list of answers, with "" if it may be left out (docs/evaluation.md)."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.speechfc.calls import Call
from fac_jax.evaluation.benchmarks.speechfc.tools import Tool
from fac_jax.evaluation.benchmarks.speechfc.values import TYPES, standardized, type_of

Truth: TypeAlias = Mapping[str, Mapping[str, Sequence[Any]]]


def check(tools: Sequence[Tool], calls: Sequence[Call], truths: Sequence[Truth], test_category: str) -> str | None:
    """Returns the official error type of the calls of a reply, or None if they are right.

    Args:
      truths: expected calls, each function name -> parameter -> accepted answers.
      test_category: "multiple" compares the first call with the first truth; "parallel" compares in any order.

    Raises:
      RowRefusedError: no tool has the name of an expected call.
      KeyError, TypeError, AttributeError, IndexError: the schema or the truths are malformed.
    """
    parallel = "parallel" in test_category
    kind = "parallel_function_checker_no_order" if parallel else "multiple_function_checker"
    if len(calls) != len(truths):
        return f"{kind}:wrong_count"
    if not parallel:
        # Quirk of the official checker: further pairs are not compared.
        return _check_call(tools, calls[0], truths[0])
    left = list(calls)
    for truth in truths:
        match = next((i for i, call in enumerate(left) if _check_call(tools, call, truth) is None), None)
        if match is None:
            return f"{kind}:cannot_find_match"
        del left[match]
    return None


def _check_call(tools: Sequence[Tool], call: Call, truth: Truth) -> str | None:
    name, answers = list(truth.items())[0]
    tool = next((tool for tool in tools if tool["name"] == name), None)
    if tool is None:
        raise RowRefusedError(f"no tool has the expected name {name!r}")
    properties, required = tool["parameters"]["properties"], tool["parameters"]["required"]
    if call.name != name:
        return "simple_function_checker:wrong_func_name"
    if any(parameter not in call.arguments for parameter in required):
        return "simple_function_checker:missing_required"
    for parameter, value in call.arguments.items():
        if parameter not in properties or parameter not in answers:
            return "simple_function_checker:unexpected_param"
        # Quirk of the official checker: objects are not compared.
        if properties[parameter]["type"] != "object":
            error = _check_value(value, answers[parameter], properties[parameter])
            if error is not None:
                return error
    if any(parameter not in call.arguments and "" not in accepted for parameter, accepted in answers.items()):
        return "simple_function_checker:missing_optional"
    return None


def _check_value(value: Any, answers: Sequence[Any], schema: Mapping[str, Any]) -> str | None:
    schema_type = schema["type"]
    expected = TYPES[schema_type]
    inner = TYPES[schema["items"]["type"]] if schema_type in ("array", "tuple") else None
    answer_type = _type_of_answers(answers)
    other_type = answer_type is not None and answer_type is not expected
    given = type_of(value, schema_type)
    if given is not expected or (inner is not None and not _inner_types_pass(value, answers, inner)):
        if given is not answer_type:
            return "type_error:simple"
        if given is expected:
            return "type_error:nested"
        other_type = True
    # Quirk of the official checker: answers of another type than the schema's are compared as they are.
    if other_type:
        return None if value in answers else "value_error:others"
    if expected is str:
        texts = [standardized(answer) for answer in answers if isinstance(answer, str)]
        return None if standardized(value) in texts else "value_error:string"
    if expected is dict:
        return _check_dict(value, answers)
    if inner is dict:
        return _check_dicts(value, answers)
    if expected is list:
        lists = [_standardized_items(answer) for answer in answers]
        return None if _standardized_items(value) in lists else "value_error:list/tuple"
    return None if value in answers else "value_error:others"


def _type_of_answers(answers: Sequence[Any]) -> type | None:
    return next((type(answer) for answer in answers if answer != ""), None)


def _inner_types_pass(value: Sequence[Any], answers: Sequence[Any], inner: type) -> bool:
    """Whether the items have an accepted type. Quirk of the official checker: an answer that is no list accepts all."""
    return any(
        not isinstance(answer, list) or all(type(item) in (inner, _type_of_answers(answer)) for item in value)
        for answer in answers
    )


def _standardized_items(values: Sequence[Any]) -> list[Any]:
    # By index, so that an object in the place of a list raises KeyError.
    return [standardized(values[i]) for i in range(len(values))]


def _check_dicts(value: Sequence[Any], answers: Sequence[Any]) -> str | None:
    """Returns None if all items match those of one answer in order, else the error of the last answer."""
    error = "list_dict_checker:unclear"
    for answer in answers:
        if len(value) != len(answer):
            error = "value_error:list_dict_count"
            continue
        errors = (_check_dict(item, [answer[i]]) for i, item in enumerate(value))
        error = next((found for found in errors if found is not None), None)
        if error is None:
            return None
    return error


def _check_dict(value: Mapping[str, Any], answers: Sequence[Any]) -> str | None:
    """Returns None if an object matches one answer, else the error of the last answer."""
    error = "dict_checker:unclear"
    for answer in answers:
        if answer == "":
            continue
        error = None
        for key, given in value.items():
            if key not in answer:
                error = "value_error:dict_key"
                break
            if standardized(given) not in _standardized_items(answer[key]):
                error = "value_error:dict_value"
                break
        # Quirk of the official checker: a missing key replaces an error found before.
        if any(key not in value and "" not in accepted for key, accepted in answer.items()):
            error = "value_error:dict_key"
        if error is None:
            return None
    return error
