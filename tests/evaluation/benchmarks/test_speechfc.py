"""Function calling of SpeechFC-Eval: properties of the two checkers; recorded outcomes are in test_recorded.py."""

import json

import pytest

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.speechfc.calls import Call, read_calls
from fac_jax.evaluation.benchmarks.speechfc.scorer import accuracy, score

SCHEMA = {
    "city": {"type": "string"},
    "days": {"type": "integer"},
    "price": {"type": "number"},
    "indoor": {"type": "boolean"},
    "level": {"type": "enum", "enum": ["3", "4"]},
    "lines": {"type": "array", "items": {"type": "string"}},
}


def row(truth, required=("city",)):
    parameters = {"type": "object", "properties": SCHEMA, "required": list(required)}
    tool = {"name": "book", "description": "books", "parameters": parameters}
    return {"function": json.dumps([{"type": "function", "function": tool}]), "ground_truth": json.dumps(truth)}


def reply(*arguments, name="book"):
    calls = [json.dumps({"name": name, "arguments": one}) for one in arguments]
    return "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)


def test_reading_drops_what_is_no_json_and_keeps_repeated_calls():
    good = '<tool_call>{"name": "f", "arguments": [{"a": "x\\ny"}]}</tool_call>'
    call = Call("f", {"a": "x y"})
    assert read_calls(f"text {good} <tool_call>{{no}}</tool_call>{good}<tool_call>[]</tool_call>") == (call, call)
    assert read_calls(good + '<tool_call>{"name": "f"}</tool_call>') is None
    assert read_calls("no call") == ()


@pytest.mark.parametrize("arguments", ["text", None, [{}, {}]])
def test_arguments_that_are_no_object_fail_the_row(arguments):
    checked = score(row([{"book": {"city": ["Rome"]}}]), reply(arguments), "bfcl", "multiple")
    assert (checked.valid, checked.error_type) == (False, "ast_decoder:decoder_failed")


def test_bfcl_parallel_takes_each_call_once_and_ace_does_not():
    rome, lima = {"city": "Rome"}, {"city": "Lima"}
    truth = row([{"book": {"city": ["Rome"]}}, {"book": {"city": ["Lima"]}}])
    assert score(truth, reply(lima, rome), "bfcl", "parallel").valid
    both_rome = row([{"book": {"city": ["Rome"]}}] * 2)
    checked = score(both_rome, reply(rome, lima), "bfcl", "parallel")
    assert checked.error_type == "parallel_function_checker_no_order:cannot_find_match"
    assert score(row({"book_1": rome, "book_2": rome}), reply(lima, rome), "ace", "multiple").valid


@pytest.mark.parametrize(
    "arguments, error_type",
    [
        ({"city": "new-york."}, "correct"),
        ({"city": "York"}, "value_error:string"),
        ({"city": "New York", "days": 2}, "correct"),
        ({"city": "New York", "days": True}, "type_error:simple"),
        ({"city": "New York", "price": 7}, "correct"),  # the answer 7.0 is no int, so `in` compares
        ({"city": "New York", "lines": ["A b"]}, "correct"),
        ({"city": "New York", "lines": [3]}, "correct"),  # the answer "" accepts items of every type
        ({"city": "New York", "lines": [["A b"]]}, "value_error:list/tuple"),
        ({"days": 2}, "simple_function_checker:missing_required"),
        ({"city": "New York", "level": "3"}, "simple_function_checker:unexpected_param"),
    ],
)
def test_bfcl_values(arguments, error_type):
    answers = {"city": ["New York"], "days": [2, ""], "price": [7.0, ""], "lines": [["ab"], [3], ""]}
    assert score(row([{"book": answers}]), reply(arguments), "bfcl", "multiple").error_type == error_type


@pytest.mark.parametrize(
    "given, official, strict",
    [
        ({"days": 3}, "correct", "value_error:others"),
        ({"days": 2.0}, "correct", "correct"),  # equal to the truth, so that the type passes
        ({"days": "2"}, "type_error", "type_error"),
        ({"price": 8.5}, "correct", "value_error:others"),
        ({"indoor": "true"}, "correct", "correct"),
        ({"indoor": False}, "correct", "value_error:others"),
        ({"indoor": 1}, "correct", "value_error:others"),
        ({"level": "4"}, "correct", "value_error:others"),
        ({"level": "3"}, "correct", "correct"),
        ({"city": "in Rome today"}, "correct", "correct"),
        ({"city": "Lima"}, "value_error:string", "value_error:string"),
    ],
)
def test_only_strict_ace_compares_numbers_booleans_and_enums(given, official, strict):
    truth = {"city": "Rome", "days": 2, "price": 7.5, "indoor": True, "level": "3"}
    arguments = reply({**truth, **given})
    assert score(row({"book": truth}), arguments, "ace", "multiple", "official").error_type == official
    assert score(row({"book": truth}), arguments, "ace", "multiple", "strict").error_type == strict


@pytest.mark.parametrize(
    "checker, given",
    [
        ("bfcl", row([{"unknown": {}}])),
        ("ace", row({"unknown": {}})),
        ("ace", row([])),
        ("bfcl", {**row([{"book": {}}]), "function": '[{"function": {"name": "book", "parameters": {}}}]'}),
        ("bfcl", {**row([{"book": {}}]), "ground_truth": "not JSON"}),
    ],
)
def test_a_row_that_stops_the_official_code_is_refused_and_wrong_under_strict(checker, given):
    text = reply({"city": "Rome"}, name="unknown")
    with pytest.raises(RowRefusedError):
        score(given, text, checker, "multiple")
    checked = score(given, text, checker, "multiple", "strict")
    assert (checked.valid, checked.error_type) == (False, "refused")


def test_printed_accuracy():
    assert f"{accuracy(536, 578, 'bfcl'):.2f}" == "92.73"
    assert f"{accuracy(138, 208, 'ace'):.2f}" == "66.30"
