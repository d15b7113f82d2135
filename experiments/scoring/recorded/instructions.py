"""Recorded scorers of instruction following: IFEval of VoiceBench, and MMAU-Pro's category of that name."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from experiments.scoring.recorded.base import Context, Recorded, Row
from fac_jax.evaluation.benchmarks import mmau_pro_instruction
from fac_jax.evaluation.benchmarks.base import RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.ifeval.score import Followed, accuracies, follow, shared_replies
from fac_jax.evaluation.benchmarks.language import seeded

_PREFIXES: Final[Mapping[Rules, str]] = {"official": "", "evalkit": "evalkit_"}
_SEEDS: Final = range(6)  # an outcome that differs among them is undetermined, and in no total


def _ifeval(cases: Sequence[Row], context: Context) -> list[Row]:
    replies = shared_replies([case["prompt"] for case in cases], [case["response"] for case in cases])
    return [_ifeval_case(case, reply) for case, reply in zip(cases, replies, strict=True)]


def _ifeval_case(case: Row, reply: str) -> Row:
    try:
        found = _followed(case, reply)
        # Only the detection of a language draws random numbers.
        if any(id.startswith(("language:", "change_case:english")) for id in case["instruction_id_list"]):
            for seed in _SEEDS:
                with seeded(seed):
                    if _followed(case, reply) != found:
                        return {**found, "undetermined": True}
    except RowRefusedError as error:
        # The official code stops, or draws a number that decides.
        return {"raises": str(error), "undetermined": True}
    return found


def _followed(case: Row, reply: str) -> Row:
    found: Row = {}
    for rules, prefix in _PREFIXES.items():
        row = follow(case["instruction_id_list"], case["kwargs"], reply, rules)
        found |= {f"{prefix}strict": row.strict, f"{prefix}loose": row.loose}
    return found


def _ifeval_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> dict[str, Any]:
    counted = [outcome for outcome in outcomes if "undetermined" not in outcome]
    rows = {
        rules: [Followed(one[f"{prefix}strict"], one[f"{prefix}loose"]) for one in counted]
        for rules, prefix in _PREFIXES.items()
    }
    return {**{rules: accuracies(found) for rules, found in rows.items()}, "counted": len(counted)}


def _mmau_pro(cases: Sequence[Row], context: Context) -> list[Row]:
    return [_mmau_pro_case(case) for case in cases]


def _mmau_pro_case(case: Row) -> Row:
    question, reply = case["prompt_transcription"], case["response"]
    try:
        return {"success": mmau_pro_instruction.follows(case["task_identifier"], case["kwargs"], question, reply)}
    except RowRefusedError as error:
        return {"raises": str(error)}


def _mmau_pro_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> dict[str, Any]:
    found = [outcome["success"] for outcome in outcomes if "success" in outcome]
    return {"success_rate": sum(found) / len(found), "count": len(found), "raising": len(outcomes) - len(found)}


SCORERS: Final[tuple[Recorded, ...]] = (
    Recorded("voicebench_ifeval", _ifeval, _ifeval_totals),
    Recorded("mmau_pro_instruction", _mmau_pro, _mmau_pro_totals),
)
