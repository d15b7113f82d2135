"""Speech function calling: SpeechFCEval (docs/evaluation.md, "Speech function calling")."""

import functools
from collections.abc import Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Benchmark, Scorer
from fac_jax.evaluation.benchmarks.sets.common import by_rows, text, under
from fac_jax.evaluation.benchmarks.speechfc.scorer import REFUSED, Checker, accuracy, score

_SUBSETS: Final[dict[str, tuple[str, Checker, str]]] = {
    "bfcl-single": ("BFCL single", "bfcl", "multiple"),
    "bfcl-parallel": ("BFCL parallel", "bfcl", "parallel"),
    "smartinteract": ("SmartInteract", "bfcl", "multiple"),
    "ace-single": ("ACEBench single", "ace", "multiple"),
    "ace-parallel": ("ACEBench parallel", "ace", "multiple"),
}


def _scorer(checker: Checker, category: str, rules: Rules) -> Scorer:
    def one(answer: Answered, assets: Assets) -> Outcome:
        found = score(answer.row, text(answer), checker, category, rules)
        remark = {"remark": REFUSED} if found.error_type == REFUSED else {}
        return Outcome(100.0 * found.valid, detail={"error": found.error_type, **remark})

    def values(answers: Sequence[Answered], outcomes: Sequence[Outcome]) -> dict[str, float]:
        """Returns what the official code prints: refused rows count nowhere."""
        points = [outcome.points for outcome in outcomes if outcome.points is not None]
        valid = sum(point > 0 for point in points)
        return {"printed": round(accuracy(valid, len(points), checker), 2)} if points else {}

    return Scorer(by_rows(one, values))


BENCHMARKS: Final = tuple(
    Benchmark(
        f"speechfc/{subset}",
        title,
        "tools",
        "%",
        under(functools.partial(_scorer, checker, category), "official", "strict"),
    )
    for subset, (title, checker, category) in _SUBSETS.items()
)
