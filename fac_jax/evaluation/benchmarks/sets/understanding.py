"""Audio understanding: MMAU, MMAU-Pro and MMSU, answered in text (docs/evaluation.md, "Audio understanding")."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fac_jax.evaluation.benchmarks import mmau, mmau_pro, mmau_pro_instruction, mmsu, qa_votes
from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Row, Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Ask, Benchmark, Scorer, Scores, choose
from fac_jax.evaluation.benchmarks.groups import group_means
from fac_jax.evaluation.benchmarks.sets.common import by_rows, judged, judgement, mean_measure, readable, text

INSTRUCTIONS: Final = "instruction following"
LETTERS: Final = "abcd"


def _mmau_values(answers: Sequence[Answered], outcomes: Sequence[Outcome]) -> dict[str, float]:
    found = mmau.accuracies([answer.row for answer in answers], outcomes)
    return {name: group.mean for key in mmau.GROUPINGS for name, group in found[key].items()}


def _mmau_judge() -> Scorer:
    def asks(answer: Answered) -> Ask:
        row = answer.row
        fields = {"question": mmau.judge_question(row), "answer": row["answer"], "prediction": text(answer)}
        return Ask("evalkit_single_choice", fields)

    return judged(asks, lambda replies: qa_votes.score_yes_no(replies[0], rules="evalkit"), _mmau_values)


def _mmau_match(rules: Rules) -> Scorer:
    return Scorer(by_rows(lambda answer, assets: mmau.score(answer.row, answer.reply, rules), _mmau_values))


def _mmsu(rules: Rules) -> Scorer:
    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        rows = [answer.row for answer in answers]
        outcomes = mmsu.score(rows, [answer.reply for answer in answers], rules)
        found = mmsu.accuracies(rows, outcomes)
        values = {name: group.mean for key in ("category", "sub-category") for name, group in found[key].items()}
        return Scores(outcomes, mean_measure(answers, outcomes), values)

    return Scorer(score)


def _mmau_pro(rules: Rules) -> Scorer:
    def asks(answer: Answered) -> Ask | None:
        row = answer.row
        if row["category"] != mmau_pro.OPEN:
            return None
        fields = {"question": row["question"], "reference_answer": row["answer"], "model_response": text(answer)}
        return Ask("mmau_pro_open", {"context": "", **fields})

    def open_question(replies: Sequence[str]) -> Outcome:
        return mmau_pro.score_open(replies[0])

    def score(answer: Answered, assets: Assets) -> Outcome:
        row = answer.row
        if row["category"] == mmau_pro.OPEN:
            return judgement(answer, open_question)
        if row["category"] == INSTRUCTIONS:
            task, kwargs = row.get("task_identifier"), row.get("kwargs")
            done = mmau_pro_instruction.follows(task, kwargs, row["question"], text(answer), rules)
            return Outcome(100.0 * done)
        if answer.similarities is None:
            return Outcome(None, "no embedder")
        nearest = row["choices"][int(np.argmax(answer.similarities))]
        return Outcome(100.0 * (nearest == row["answer"]), detail={"nearest": nearest})

    def values(answers: Sequence[Answered], outcomes: Sequence[Outcome]) -> dict[str, float]:
        means = group_means([answer.row["category"] for answer in answers], outcomes)
        return {name: group.mean for name, group in means.items()}

    return Scorer(by_rows(score, values), asks, readable(open_question), needs=("embedder",))


def _mmau_pro_prompt(row: Row) -> str:
    return choose(row["question"], row["choices"] or [])


def _mmsu_prompt(row: Row) -> str:
    choices = [row[f"choice_{letter}"] for letter in LETTERS]
    return choose(row["question"], [one for one in choices if one is not None])  # some rows have only two


BENCHMARKS: Final = (
    Benchmark(
        "mmau/test-mini",
        "MMAU test-mini",
        "s2t",
        "%",
        {"evalkit": _mmau_judge(), "official": _mmau_match("official"), "strict": _mmau_match("strict")},
        instruction=lambda row: choose(row["question"], row["choices"]),
    ),
    Benchmark(
        "mmau-pro/test",
        "MMAU-Pro, one audio",
        "s2t",
        "%",
        {"official": _mmau_pro("official"), "strict": _mmau_pro("strict")},
        instruction=_mmau_pro_prompt,
    ),
    Benchmark(
        "mmsu/test",
        "MMSU",
        "s2t",
        "%",
        {"official": _mmsu("official"), "strict": _mmsu("strict")},
        instruction=_mmsu_prompt,
    ),
)
