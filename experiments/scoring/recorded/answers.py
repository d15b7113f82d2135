"""How the recorded outcomes of OpenAudioBench and of UltraEval-Audio's answers are scored anew."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from experiments.scoring.recorded.base import Context, Recorded, Row
from fac_jax.evaluation.benchmarks import answer_match, chatbot, openaudiobench
from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError
from fac_jax.evaluation.benchmarks.summary import RIGHT

_GRADED: Final = ("alpaca_eval", "reasoning_qa")  # their value is called "score", that of the others "acc"


def _rows(outcome: Callable[[Row], Outcome], field: str, value: Callable[[Outcome], Any]) -> Callable[..., list[Row]]:
    """Returns how to score all cases: `value` of each outcome under `field`, or why the row is refused."""

    def score(cases: Sequence[Row], context: Context) -> list[Row]:
        del context
        rows: list[Row] = []
        for case in cases:
            try:
                rows.append({field: value(outcome(case))})
            except RowRefusedError as error:
                rows.append({"raises": str(error)})
        return rows

    return score


def _openaudiobench(case: Row) -> Outcome:
    return openaudiobench.score(case["subset"], case["reply"], rules="evalkit")


def _openaudiobench_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    subsets: dict[str, list[Outcome]] = {}
    for case, row in zip(cases, rows, strict=True):
        if "raises" not in row:
            subsets.setdefault(case["subset"], []).append(_openaudiobench(case))
    totals = {}
    for subset, outcomes in subsets.items():
        summary = openaudiobench.summarize_points(outcomes, rules="evalkit")
        totals[subset] = {
            "score" if subset in _GRADED else "acc": summary.values.get("value"),
            "total": summary.rows,
            "invalid": summary.unscored.get(openaudiobench.UNPARSED, 0),
        }
    return {"per_subset": totals}


def _exist_match(case: Row) -> Outcome:
    return answer_match.score(case["pred"], case["label"], rules="official")


def _exist_match_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    scored = [_exist_match(case) for case, row in zip(cases, rows, strict=True) if "raises" not in row]
    acc = answer_match.summarize_matches(scored).values["acc"]
    return {
        "acc_percent": acc,
        "rows": len(scored),
        "raising": len(cases) - len(scored),
        "match_mean_percent": acc,
    }


def _chatbot(case: Row) -> Outcome:
    return chatbot.score(case["reply"], rules="official")


def _chatbot_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    scored = [_chatbot(case) for case, row in zip(cases, rows, strict=True) if "raises" not in row]
    values = chatbot.summarize_grades(scored).values
    return {
        "geval_percent_as_printed": values["printed"],
        "table_score_mean_times_10": values["score"],
        "rows": len(scored),
        "raising": len(cases) - len(scored),
    }


SCORERS: tuple[Recorded, ...] = (
    Recorded(
        "openaudiobench_judge", _rows(_openaudiobench, "value", lambda outcome: outcome.points), _openaudiobench_totals
    ),
    Recorded(
        "ultraeval_qa_exist_match",
        _rows(_exist_match, "match", lambda outcome: int(outcome.points == RIGHT)),
        _exist_match_totals,
    ),
    Recorded(
        "ultraeval_chatbot_judge",
        _rows(_chatbot, "geval", lambda outcome: int((outcome.points or 0) / chatbot.POINTS)),
        _chatbot_totals,
    ),
)
