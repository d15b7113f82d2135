"""Recorded outcomes of SpeechFC-Eval."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.scoring.recorded.base import Context, Recorded, Row
from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.speechfc.scorer import Checker, accuracy, score


def _outcome(case: Row, checker: Checker, test_category: str) -> Row:
    try:
        checked = score(case, case["predict"], checker, test_category)
    except RowRefusedError as error:
        return {"raises": str(error)}
    # Through JSON, where a name that is a number becomes a text.
    calls = json.loads(json.dumps([{call.name: call.arguments} for call in checked.calls]))
    return {"valid": checked.valid, "error_type": checked.error_type, "calls": calls}


def _summary(outcomes: Sequence[Row], checker: Checker) -> Row:
    correct, total = sum(outcome["valid"] for outcome in outcomes), len(outcomes)
    percent = accuracy(correct, total, checker)
    return {"printed_accuracy_percent": f"{percent:.2f}", "correct": correct, "total": total}


def _recorded(name: str, checker: Checker) -> Recorded:
    def outcomes(cases: Sequence[Row], context: Context) -> Sequence[Row]:
        return [_outcome(case, checker, case["test_category"]) for case in cases]

    def totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Mapping[str, Any]:
        categories: dict[str, list[Row]] = {}
        for case, outcome in zip(cases, outcomes, strict=True):
            if "raises" not in outcome:
                categories.setdefault(case["test_category"], []).append(outcome)
        return {
            "per_test_category": {category: _summary(group, checker) for category, group in categories.items()},
            "raising": sum("raises" in outcome for outcome in outcomes),
        }

    return Recorded(name, outcomes, totals, info_of=_undecodable)


def _undecodable(expected: Row) -> frozenset[str]:
    """The calls of a reply that cannot be decoded are recorded for information only."""
    return frozenset({"calls"} if expected.get("error_type", "").startswith("ast_decoder") else ())


def _released(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    return [{"index": case["index"], **_outcome(case, "bfcl", "multiple")} for case in cases]


def _released_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Mapping[str, Any]:
    error_types = Counter(outcome["error_type"] for outcome in outcomes)
    return {**_summary(outcomes, "bfcl"), "error_types": error_types}


SCORERS: tuple[Recorded, ...] = (
    _recorded("speechfc_bfcl", "bfcl"),
    _recorded("speechfc_ace", "ace"),
    Recorded("speechfc_bfcl_released", _released, _released_totals, info=frozenset({"test_category"})),
)
