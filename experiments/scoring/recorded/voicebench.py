"""How the recorded outcomes of VoiceBench, and of Kimi-Audio-Evalkit's yes and no, are scored anew."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from experiments.scoring.recorded.base import Context, Recorded, Row
from fac_jax.evaluation.benchmarks import choices, open_replies, pedant, qa_votes, refusals
from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG

_ROUTES: Final = ("official", "evalkit", "ultraeval")  # in which phrases are looked for


def _mcq(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    replies, references = [case["response"] for case in cases], [case["reference"] for case in cases]
    assets = Assets(context.assets)
    rows: list[Row] = [{} for _ in cases]
    for rules in _ROUTES:
        outcomes = choices.score(replies, references, rules=rules, assets=assets)
        for row, outcome in zip(rows, outcomes, strict=True):
            row[rules] = None if "remark" in outcome.detail else outcome.detail["letter"]
            row[f"{rules}_match"] = int(outcome.points == RIGHT)
    return rows


def _mcq_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    del cases
    # Outcomes as `choices.score` gave them: a match without a letter is the luck of a random one.
    official = [
        Outcome(
            RIGHT * row["official_match"],
            detail={"letter": row["official"]} | ({"remark": choices.RANDOM} if row["official"] is None else {}),
        )
        for row in rows
    ]
    ultraeval = [Outcome(RIGHT * row["ultraeval_match"]) for row in rows]
    values = choices.summarize_letters(official).values
    return {
        "official": {
            "fail_percent": values["fail"],
            "correct_without_random": sum(row["official_match"] for row in rows if row["official"] is not None),
            "unparsed": sum(row["official"] is None for row in rows),
            "acc_percent_with_random_seed_0": values["acc"],
            "acc_percent_unparsed_wrong": values["acc_unparsed_wrong"],
            "acc_percent_expected_random": values["acc_expected"],
        },
        "ultraeval": {"match_mean_percent": choices.summarize_letters(ultraeval).values["acc"]},
    }


def _advbench(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    assets = Assets(context.assets)
    return [
        {rules: refusals.score(case["response"], rules=rules, assets=assets).points == RIGHT for rules in _ROUTES}
        for case in cases
    ]


def _advbench_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    del cases
    rates = {}
    for rules in _ROUTES:
        outcomes = [Outcome(RIGHT * row[rules]) for row in rows]
        rates[rules] = refusals.summarize_refusals(outcomes, rules=rules).values["refusal_rate"]
    return {
        "official": {"refusal_rate": rates["official"] / RIGHT},
        "evalkit": {
            "acc": rates["evalkit"],
            "valid": len(rows),
            "total": len(rows),
            "correct": sum(row["evalkit"] for row in rows),
        },
        "ultraeval": {"refusal_rate_mean": rates["ultraeval"] / RIGHT},
    }


def _open(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    del context
    rows: list[Row] = []
    for case in cases:
        row: Row = {"evalkit_first": open_replies.score(case["score"], rules="evalkit").points}
        try:
            row["official"] = open_replies.score(case["score"], rules="official").detail["numbers"]
        except RowRefusedError as error:
            row["official_raises"] = str(error)
        rows.append(row)
    return rows


def _open_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    official = [
        open_replies.score(case["score"], rules="official")
        for case, row in zip(cases, rows, strict=True)
        if all(map(math.isfinite, row.get("official", (math.nan,))))
    ]
    evalkit = [
        open_replies.score(case["score"], rules="evalkit")
        for case, row in zip(cases, rows, strict=True)
        if row["evalkit_first"] is None or math.isfinite(row["evalkit_first"])
    ]
    summary = open_replies.summarize_numbers(evalkit, rules="evalkit")
    return {
        "official": {
            "gpt": open_replies.summarize_numbers(official, rules="official").values["score"],
            "counted_cases": len(official),
        },
        "evalkit": {
            "score": summary.values["score"],
            "total": summary.rows,
            "invalid": summary.unscored.get(open_replies.UNPARSED, 0),
        },
    }


def _qa(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    del context
    return [
        {"official": "hash-order" if (right := qa_votes.majority(case["score"])) is None else right} for case in cases
    ]


def _qa_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    del rows
    votes = [qa_votes.score_votes(case["score"], rules="official") for case in cases]
    summary = qa_votes.summarize_sd_qa(votes, pedant=[])
    return {
        "official": {
            "gpt_percent_over_determined_cases": summary.values["gpt"],
            "determined": summary.scored,
            "hash_order": summary.unscored.get(qa_votes.TIE, 0),
        }
    }


def _pedant(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    scorer = pedant.Pedant.load(context.folder / "weights.npz")
    rows: list[Row] = []
    for case in cases:
        texts = (case["prompt"], case["reference"], case["response"])
        rows.append({"match": scorer.matches(*texts), "get_score": scorer.probability(*texts)})
    return rows


def _pedant_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    del cases
    outcomes = [Outcome(RIGHT if row["match"] else WRONG) for row in rows]
    return {"panda_percent": pedant.summarize_pedant(outcomes).values["panda"]}


def _yes_no(cases: Sequence[Row], context: Context) -> Sequence[Row]:
    del context
    return [{"verdict": qa_votes.yes_no(case["reply"])} for case in cases]


def _yes_no_totals(cases: Sequence[Row], rows: Sequence[Row]) -> Mapping[str, Any]:
    del rows
    subsets: dict[str, list[Outcome]] = {}
    for case in cases:
        subsets.setdefault(case["subset"], []).append(qa_votes.score_yes_no(case["reply"], rules="evalkit"))
    totals = {}
    for subset, outcomes in subsets.items():
        summary = qa_votes.summarize_yes_no(outcomes, rules="evalkit")
        totals[subset] = {
            "acc": summary.values.get("acc"),
            "valid": summary.scored,
            "total": summary.rows,
            "correct": sum(outcome.points == RIGHT for outcome in outcomes),
        }
    return {"per_subset": totals}


SCORERS: tuple[Recorded, ...] = (
    Recorded("voicebench_mcq", _mcq, _mcq_totals),
    Recorded("voicebench_advbench", _advbench, _advbench_totals),
    Recorded("voicebench_open", _open, _open_totals),
    Recorded("voicebench_qa", _qa, _qa_totals),
    Recorded("pedant", _pedant, _pedant_totals, tolerance=1e-6),
    Recorded("evalkit_yes_no", _yes_no, _yes_no_totals),
)
