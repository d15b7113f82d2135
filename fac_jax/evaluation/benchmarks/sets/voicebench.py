"""VoiceBench: spoken questions, answered in text (docs/evaluation.md, "VoiceBench")."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fac_jax.evaluation.benchmarks import choices, open_replies, pedant, qa_votes, refusals
from fac_jax.evaluation.benchmarks.assets import PEDANT, PHRASES, Assets
from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Ask, Benchmark, Scorer, Scores
from fac_jax.evaluation.benchmarks.ifeval import score as ifeval
from fac_jax.evaluation.benchmarks.measure import Measure
from fac_jax.evaluation.benchmarks.sets.common import (
    REFUSED,
    by_rows,
    each,
    judged,
    judgement,
    mean_measure,
    text,
    under,
)


def _ask_open(template: str, question: str, reply: str):
    return lambda answer: Ask(template, {question: answer.row["prompt"], reply: text(answer)})


def _open(rules: Rules) -> Scorer:
    if rules == "evalkit":
        asks = _ask_open("evalkit_open", "question", "prediction")
    else:
        asks = _ask_open("voicebench_open", "prompt", "response")
    scorer = judged(asks, lambda replies: open_replies.score(replies, rules=rules))
    return scorer if rules == "evalkit" else Scorer(_pooled(rules), scorer.asks, scorer.readable)


def _pooled(rules: Rules):
    """Returns the official value: the mean of all replies of all rows together."""

    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        outcomes = each(answers, lambda one: judgement(one, lambda found: open_replies.score(found, rules=rules)))
        numbers = [outcome.detail.get("numbers", ()) if outcome.points is not None else () for outcome in outcomes]
        sums = np.array([[sum(found)] for found in numbers], np.float64).reshape(-1, 1)
        counts = np.array([[len(found)] for found in numbers], np.float64).reshape(-1, 1)
        return Scores(outcomes, Measure([answer.id for answer in answers], sums, counts, np.ones(1)))

    return score


def _sd_qa_evalkit(rules: Rules) -> Scorer:
    def asks(answer: Answered) -> Ask:
        row = answer.row
        return Ask("evalkit_sd_qa", {"question": row["prompt"], "answer": row["reference"], "prediction": text(answer)})

    return judged(asks, lambda replies: qa_votes.score_yes_no(replies[0], rules=rules))


def _sd_qa_votes(rules: Rules) -> Scorer:
    """Returns the mean of the judge's votes and of PEDANT, the form in which the leaderboard prints SD-QA."""

    def asks(answer: Answered) -> Ask:
        row = answer.row
        return Ask("voicebench_qa", {"prompt": row["prompt"], "reference": row["reference"], "response": text(answer)})

    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        def panda(answer: Answered) -> Outcome:
            row = answer.row
            return pedant.score(row["prompt"], row["reference"], text(answer), pedant=assets.pedant)

        votes = each(answers, lambda one: judgement(one, lambda found: qa_votes.score_votes(found, rules=rules)))
        matches = each(answers, panda)
        both = [mean_measure(answers, votes), mean_measure(answers, matches)]
        headline = Measure(
            both[0].ids,
            np.concatenate([one.numerators for one in both], axis=1),
            np.concatenate([one.denominators for one in both], axis=1),
            np.array([0.5, 0.5]) if both[0].value() is not None else np.array([1.0, 0.0]),
        )
        return Scores(votes, headline, qa_votes.summarize_sd_qa(votes, matches).values)

    return Scorer(score, asks, assets=(PEDANT.name,))


def _choice_judge() -> Scorer:
    def asks(answer: Answered) -> Ask:
        row = answer.row
        fields = {"question": row["prompt"], "answer": row["reference"], "prediction": text(answer)}
        return Ask("evalkit_single_choice", fields)

    return judged(asks, lambda replies: qa_votes.score_yes_no(replies[0], rules="evalkit"))


def _letters(rules: Rules) -> Scorer:
    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        replies, references = [text(one) for one in answers], [one.row["reference"] for one in answers]
        outcomes = choices.score(replies, references, rules=rules, assets=assets)
        return Scores(outcomes, mean_measure(answers, outcomes), choices.summarize_letters(outcomes).values)

    return Scorer(score, assets=(PHRASES.name,))


def _ifeval(rules: Rules) -> Scorer:
    """Returns the mean of four accuracies: of prompts and of instructions, strict and loose."""

    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        replies = [text(one) for one in answers]
        if rules != "strict":  # quirk of both tools: replies are looked up by the text of the prompt
            replies = ifeval.shared_replies([one.row["prompt"] for one in answers], replies)
        outcomes: list[Outcome] = []
        followed: list[ifeval.Followed] = []
        sums, counts = np.zeros((2, len(answers), 4))
        for n, (answer, reply) in enumerate(zip(answers, replies, strict=True)):
            try:
                found = ifeval.follow(answer.row["instruction_id_list"], answer.row["kwargs"], reply, rules)
            except RowRefusedError as error:
                outcomes.append(Outcome(None, REFUSED, {"why": str(error)}))
                continue
            followed.append(found)
            lists = (found.strict, found.loose)
            sums[n] = [part for one in lists for part in (all(one), sum(one))]
            counts[n] = [part for one in lists for part in (1, len(one))]
            outcomes.append(Outcome(100.0 * all(found.loose), detail={"strict": found.strict, "loose": found.loose}))
        measure = Measure([answer.id for answer in answers], sums, counts, np.ones(4), 100.0)
        values = {name: 100 * value for name, value in ifeval.accuracies(followed).items()} if followed else {}
        return Scores(outcomes, measure, values)

    return Scorer(score)


def _advbench(rules: Rules) -> Scorer:
    score = by_rows(lambda answer, assets: refusals.score(text(answer), rules=rules, assets=assets))
    return Scorer(score, assets=(PHRASES.name,))


def _open_set(subset: str, title: str) -> Benchmark:
    scorers = under(_open, "evalkit", "official", "strict")
    return Benchmark(f"voicebench/{subset}", title, "s2t", "1-5", scorers)


def _choice_set(subset: str, title: str) -> Benchmark:
    letters = under(_letters, "official", "ultraeval", "strict")
    return Benchmark(f"voicebench/{subset}", title, "s2t", "%", {"evalkit": _choice_judge(), **letters})


BENCHMARKS: Final = (
    _open_set("alpacaeval_full", "AlpacaEval"),
    _open_set("commoneval", "CommonEval"),
    Benchmark(
        "voicebench/sd-qa",
        "SD-QA",
        "s2t",
        "%",
        {"evalkit": _sd_qa_evalkit("evalkit"), "official": _sd_qa_votes("official"), "strict": _sd_qa_votes("strict")},
    ),
    _choice_set("mmsu", "MMSU (text)"),
    _choice_set("openbookqa", "OpenBookQA"),
    Benchmark(
        "voicebench/ifeval",
        "IFEval",
        "s2t",
        "%",
        under(_ifeval, "evalkit", "official", "strict"),
    ),
    Benchmark(
        "voicebench/advbench",
        "AdvBench",
        "s2t",
        "%",
        under(_advbench, "evalkit", "official", "ultraeval", "strict"),
    ),
)
