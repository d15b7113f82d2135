"""Scores a reply by its function calls."""

import dataclasses
import json
from typing import Any, Final, Literal, TypeAlias

from fac_jax.evaluation.benchmarks.base import Row, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.speechfc import ace, bfcl
from fac_jax.evaluation.benchmarks.speechfc.calls import Call, read_calls
from fac_jax.evaluation.benchmarks.speechfc.tools import read_tools

Checker: TypeAlias = Literal["bfcl", "ace"]

CORRECT: Final = "correct"
REFUSED: Final = "refused"


@dataclasses.dataclass(frozen=True)
class Checked:
    """What a checker says about one reply.

    Attributes:
      valid: whether the calls are right.
      error_type: "correct", the official name of the first error, or "refused" (strict: the official code stops).
      calls: calls that were read from the reply; none if one of them lacks its name or arguments.
    """

    valid: bool
    error_type: str
    calls: tuple[Call, ...]


def score(row: Row, reply: str, checker: Checker, test_category: str, rules: Rules = "official") -> Checked:
    """Checks the calls in a reply against the expected ones of a row.

    Args:
      row: with "function" and "ground_truth", each a JSON string or objects already.
      checker: "bfcl" for SpeechFC-BFCL and SmartInteract, "ace" for SpeechFC-ACEBench.
      test_category: "multiple"; "parallel" for SpeechFC-BFCL-Parallel; ace compares texts exactly if it has "agent".
      rules: "official", or "strict": a row at which the official code stops is wrong, and ace compares numbers,
        booleans and enums, too.

    Raises:
      RowRefusedError: the official code stops at this row; only under the official rules.
    """
    calls = read_calls(reply)
    try:
        error = _error(row, calls, checker, test_category, rules)
    except RowRefusedError:
        if rules != "strict":
            raise
        error = REFUSED
    return Checked(error is None, CORRECT if error is None else error, calls or ())


def _error(row: Row, calls: tuple[Call, ...] | None, checker: Checker, test_category: str, rules: Rules) -> str | None:
    # The schema and the truth come from outside and can be malformed in any way. At every one of these errors the
    # official code stops as well.
    try:
        tools, truth = read_tools(row["function"]), _read_truth(row)
        if calls is None or not all(isinstance(call.arguments, dict) for call in calls):
            return "ast_decoder:decoder_failed"
        if checker == "ace":
            return ace.check(tools, calls, truth, test_category, rules)
        return bfcl.check(tools, calls, truth, test_category)
    except (KeyError, TypeError, AttributeError, IndexError, json.JSONDecodeError) as error:
        raise RowRefusedError(f"malformed function or ground truth: {type(error).__name__} {error}") from error


def _read_truth(row: Row) -> Any:
    truth = row["ground_truth"]
    return json.loads(truth) if isinstance(truth, str) else truth


def accuracy(valid: int, total: int, checker: Checker) -> float:
    """Returns the accuracy in percent; that of ace is rounded to tenths of a percent, as it is printed officially."""
    share = valid / total
    return 100 * (round(share, 3) if checker == "ace" else share)
