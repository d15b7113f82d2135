"""Benchmarks whose replies are spoken: UltraEval-Audio, VStyle and Big Bench Audio (docs/evaluation.md).

UltraEval-Audio scores what a recogniser writes down of the reply's speech. The value of the reply's own text, its
variant "-s2t", is printed as "of the text".
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from fac_jax.evaluation.benchmarks import answer_match, bigbench_audio, chatbot, vstyle
from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Ask, Benchmark, Scorer, Scores
from fac_jax.evaluation.benchmarks.groups import group_means
from fac_jax.evaluation.benchmarks.measure import parts
from fac_jax.evaluation.benchmarks.sets.common import (
    NO_RECOGNISER,
    by_rows,
    each,
    judged,
    judgement,
    mean_measure,
    readable,
    text,
    under,
)
from fac_jax.evaluation.benchmarks.summary import mean_points
from fac_jax.evaluation.benchmarks.wer import tools as wer

OF_TEXT: Final = "of the text"


def _heard(answers: Sequence[Answered], score: Callable[[Answered], Outcome]) -> list[Outcome]:
    """Returns the outcome of every answer that a recogniser has heard."""
    return each(answers, lambda one: score(one) if one.heard is not None else Outcome(None, NO_RECOGNISER))


def _match(rules: Rules) -> Scorer:
    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        outcomes = _heard(answers, lambda one: answer_match.score(one.heard, one.row["label"], rules=rules))
        written = each(answers, lambda one: answer_match.score(text(one), one.row["label"], rules=rules))
        values = {
            OF_TEXT: mean_points(written),
            "fail_rate": answer_match.summarize_matches(outcomes).values["fail_rate"],
        }
        return Scores(outcomes, mean_measure(answers, outcomes), _known(values | _speech(answers)))

    return Scorer(score, needs=("recogniser", "mos"))


def _speech(answers: Sequence[Answered]) -> dict[str, float | None]:
    """Returns quality and intelligibility of the replies' speech: mean MOS, and its words against the reply's text."""
    measured = [one.mos for one in answers if one.mos is not None]
    pairs = [(text(one), one.heard) for one in answers if one.heard is not None]
    rate = wer.score(pairs, "ultraeval", "en")[1].percent if pairs else None
    return {"mos": float(np.mean(measured)) if measured else None, "asr_wer": rate}


def _known(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _chatbot(rules: Rules) -> Scorer:
    def asks(answer: Answered) -> Ask | None:
        if answer.heard is None:
            return None
        return Ask("ultraeval_chatbot", {"instruction": answer.row["prompt"], "response": answer.heard})

    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        outcomes = _heard(answers, lambda one: judgement(one, read))
        return Scores(outcomes, mean_measure(answers, outcomes), _known(_speech(answers)))

    def read(replies: Sequence[str]) -> Outcome:
        return chatbot.score(replies[0], rules=rules)

    return Scorer(score, asks, readable(read), needs=("recogniser", "mos"))


def _vstyle(language: str, rules: Rules) -> Scorer:
    def asks(answer: Answered) -> Ask:
        ability = answer.row["ability"]
        fields = {"instruction_type": ability, "input_instruction": answer.row["instruct_text"]}
        return Ask(f"vstyle_{language}_{ability.split('/')[0]}", fields, hears=True)

    def read(replies: Sequence[str]) -> Outcome:
        return vstyle.score(replies[0], rules)

    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        outcomes = each(answers, lambda one: judgement(one, read))
        abilities = [answer.row["ability"] for answer in answers]
        means = {name: group.mean for name, group in group_means(abilities, outcomes).items()}
        points = [
            o.points if ability in vstyle.WEIGHTS else None for o, ability in zip(outcomes, abilities, strict=True)
        ]
        known = [ability if ability in vstyle.WEIGHTS else next(iter(vstyle.WEIGHTS)) for ability in abilities]
        headline = parts([answer.id for answer in answers], points, known, vstyle.WEIGHTS)
        return Scores(outcomes, headline, means | vstyle.group_values(means))

    return Scorer(score, asks, readable(read))


def _bigbench_judge() -> Scorer:
    def asks(answer: Answered) -> Ask:
        row = answer.row
        fields = {"question": row["transcript"], "answer": row["official_answer"], "prediction": _said(answer)}
        return Ask("bigbench_audio", fields)

    return judged(asks, lambda replies: bigbench_audio.score_judged(replies[0]), _categories)


def _bigbench_strict() -> Scorer:
    return Scorer(by_rows(lambda answer, assets: bigbench_audio.score_closed(answer.row, _said(answer)), _categories))


def _said(answer: Answered) -> str:
    return answer.heard if answer.heard is not None else text(answer)


def _categories(answers: Sequence[Answered], outcomes: Sequence[Outcome]) -> dict[str, float]:
    means = group_means([answer.row.get("category") for answer in answers], outcomes)
    return {name: group.mean for name, group in means.items()}


def _ultraeval(subset: str, title: str, scorer: Callable[[Rules], Scorer]) -> Benchmark:
    scorers = under(scorer, "official", "strict")
    return Benchmark(f"ultraeval/{subset}", title, "s2m", "%" if scorer is _match else "10-100", scorers)


def _style(language: str) -> Benchmark:
    scorers = under(functools.partial(_vstyle, language), "official", "strict")
    return Benchmark(f"vstyle/{language}", f"VStyle {language}", "spoken_s2m", "1-5", scorers)


BENCHMARKS: Final = (
    _ultraeval("speech-chatbot-alpaca-eval", "AlpacaEval", _chatbot),
    _ultraeval("llama-questions", "Llama Questions", _match),
    _ultraeval("speech-triavia-qa", "TriviaQA", _match),
    _ultraeval("speech-web-questions", "Web Questions", _match),
    _style("en"),
    _style("zh"),
    Benchmark(
        "bigbench-audio/test",
        "Big Bench Audio",
        "s2m",
        "%",
        {"official": _bigbench_judge(), "strict": _bigbench_strict()},
    ),
)
