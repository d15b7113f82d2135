"""Recorded scorers of audio understanding, of spoken style, and of the paper's overall values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from experiments.scoring.recorded.base import Context, Recorded, Row
from fac_jax.evaluation.benchmarks import mmau, mmau_pro, mmsu, paper, vstyle
from fac_jax.evaluation.benchmarks.base import Outcome
from fac_jax.evaluation.benchmarks.groups import Group, group_means


def _string_match(cases: Sequence[Row], context: Context) -> list[Row]:
    outcomes = [mmau.score(case, case.get("model_output")) for case in cases]
    return [{"match": None if one.points is None else round(one.points / 100)} for one in outcomes]


def _string_match_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    scored = [mmau.score(case, case.get("model_output")) for case in cases]
    found = mmau.accuracies(cases, scored)
    groups = {"Total Accuracy": found[mmau.TOTAL][mmau.TOTAL]}
    for grouping in mmau.GROUPINGS:
        groups |= found[grouping]
    return {"printed": {name: {"acc_percent": round(one.mean, 2), "n": one.rows} for name, one in groups.items()}}


def _open_judge(cases: Sequence[Row], context: Context) -> list[Row]:
    return [mmau_pro.read_open_judgement(case["reply"])._asdict() for case in cases]


def _open_judge_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    metrics = mmau_pro.open_metrics([mmau_pro.OpenJudgement(**one) for one in outcomes])
    return {"metrics": metrics, "category_score": metrics["avg_overall"] / mmau_pro.BEST}


# What the score of a category is called by its type, and the greatest that it can be.
_CATEGORY: Final = {
    "closed": ("accuracy", 1),
    "openended": ("avg_overall", mmau_pro.BEST),
    "aif": ("success_rate", 1),
}


def _pro_overall(cases: Sequence[Row], context: Context) -> list[Row]:
    found = []
    for case in cases:
        groups = {
            name: Group(each[_CATEGORY[each["type"]][0]] / _CATEGORY[each["type"]][1], each["count"])
            for name, each in case["categories"].items()
            if each["type"] in _CATEGORY
        }
        scores = {name: group.mean for name, group in groups.items()}
        found.append({"overall": mmau_pro.overall(groups), "category_scores": scores})
    return found


def _mmsu(cases: Sequence[Row], context: Context) -> list[Row]:
    in_order = mmsu.score(cases, _responses(cases))
    alone = [mmsu.score([case], _responses([case]))[0] for case in cases]
    return [{"in_order": _word(one), "alone": _word(other)} for one, other in zip(in_order, alone, strict=True)]


def _responses(cases: Sequence[Row]) -> list[str | None]:
    """Returns the replies; to the official code an absent one is empty, and one that is no text is skipped."""
    replies = [case.get("response", "") for case in cases]
    return [reply if isinstance(reply, str) else None for reply in replies]


def _word(outcome: Outcome) -> str:
    if outcome.points is None:
        return "raises UnboundLocalError" if outcome.cause == mmsu.REFUSED else "skipped"
    return "correct" if outcome.points else "wrong"


def _mmsu_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    without_empty = [case for case in cases if case.get("response", "") not in mmsu.EMPTY]
    return {"in_order": _mmsu_figures(cases), "without_empty_replies": _mmsu_figures(without_empty)}


def _mmsu_figures(cases: Sequence[Row]) -> Row:
    found = mmsu.accuracies(cases, mmsu.score(cases, _responses(cases)))
    total = found["total"]["total"]
    subs: dict[str, dict[str, float]] = {}
    for name, one in found["sub-category"].items():
        category, sub = name.split("/", 1)
        subs.setdefault(category, {})[sub] = one.mean / 100
    categories = {
        name: {"accuracy": one.mean / 100, "correct": round(one.mean * one.rows / 100), "count": one.rows}
        for name, one in found["category"].items()
    }
    return {
        "overall_accuracy": total.mean / 100,
        "total_count": total.rows,
        "per_category": categories,
        "per_sub_category": subs,
    }


def _vstyle(cases: Sequence[Row], context: Context) -> list[Row]:
    found = [vstyle.read_score(case["reply"]) or ("", None) for case in cases]
    return [{"score_text": text, "score": number} for text, number in found]


def _vstyle_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    printed: dict[str, Any] = {}
    for model in dict.fromkeys(case["model_name"] for case in cases):
        rows = [case for case in cases if case["model_name"] == model]
        scored = [_finite(vstyle.score(row["reply"])) for row in rows]
        abilities = group_means([row["ability"] for row in rows], scored)
        printed[model] = _vstyle_printed({name: one for name, one in abilities.items() if name in vstyle.WEIGHTS})
    return {"printed_per_model": printed, "unparsed": sum(one["score"] is None for one in outcomes)}


def _finite(outcome: Outcome) -> Outcome:
    """Leaves out scores that are no finite number, as the totals do."""
    finite = outcome.points is None or math.isfinite(outcome.points)
    return outcome if finite else Outcome(None, "not finite")


def _vstyle_printed(abilities: Mapping[str, Group]) -> Row:
    means = {name: one.mean for name, one in abilities.items()}
    return {
        "overall": round(vstyle.overall(means), 2),
        "weight_coverage_percent": round(100 * vstyle.coverage(means), 2),
        "major": {name: round(value, 2) for name, value in vstyle.group_values(means).items()},
        "ability": {name: [round(one.mean, 2), one.rows] for name, one in abilities.items()},
    }


# Names of the recorded cases, where the project has others.
_ULTRAEVAL: Final = {
    "alpacaeval": "speech-chatbot-alpaca-eval",
    "llama_questions": "llama-questions",
    "trivia_qa": "speech-triavia-qa",
    "web_questions": "speech-web-questions",
}
_SPEECHFC: Final = ("ace_single", "ace_parallel", "bfcl_single", "bfcl_parallel")
_SUBSETS: Final[Mapping[str, Mapping[str, str]]] = {
    "voicebench": {"alpacaeval": "alpacaeval_full"},
    "ultraeval": _ULTRAEVAL,
    "ultraeval_duplex": _ULTRAEVAL,
    "speechfc": {name: name.replace("_", "-") for name in _SPEECHFC},
}
_STREAMS: Final = {"S2M-T": "text", "S2M-S": "speech"}  # of table 7, the last word of the model
_HALF_CENT: Final = 0.005 + 1e-9  # printed figures have two decimals


def _paper(cases: Sequence[Row], context: Context) -> list[Row]:
    found = []
    for case in cases:
        benchmark, model = _place(case)
        names: Mapping[str, str] = _SUBSETS.get(case["benchmark"], {})
        given: Mapping[str, float] = case["values"]
        values = {names.get(name, name): value for name, value in given.items()}
        formula = round(paper.overall(benchmark, values), 6)
        printed = next(one.value for one in paper.figures(benchmark) if one.model == model)
        agrees = abs(formula - printed) <= _HALF_CENT
        found.append({"printed": printed, "formula": formula, "agrees_to_two_decimals": agrees})
    return found


def _place(case: Row) -> tuple[str, str]:
    """Returns the project's name of a case's benchmark, and the model."""
    if case["benchmark"] == "ultraeval_duplex":
        model, stream = case["model"].rsplit(" ", 1)
        return f"ultraeval-duplex/{_STREAMS[stream]}", model
    name = case["benchmark"]
    return f"{name}/{case['language']}" if "language" in case else name, case["model"]


def _paper_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    return {"agreeing": sum(one["agrees_to_two_decimals"] for one in outcomes)}


SCORERS: Final[tuple[Recorded, ...]] = (
    Recorded("mmau_string_match", _string_match, _string_match_totals),
    Recorded("mmau_pro_open_judge", _open_judge, _open_judge_totals),
    Recorded("mmau_pro_overall", _pro_overall),
    Recorded("mmsu_parse", _mmsu, _mmsu_totals),
    Recorded("vstyle_judge", _vstyle, _vstyle_totals),
    Recorded("paper_overall", _paper, _paper_totals),
)
