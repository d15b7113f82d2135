"""OpenAudioBench: spoken questions, answered in text, all judged (docs/evaluation.md, "OpenAudioBench")."""

import functools
from typing import Final

from fac_jax.evaluation.benchmarks import openaudiobench
from fac_jax.evaluation.benchmarks.base import Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Ask, Benchmark, Scorer
from fac_jax.evaluation.benchmarks.sets.common import judged, text, under

_TITLES: Final = {
    "alpaca_eval": "AlpacaEval",
    "llama_questions": "Llama Questions",
    "reasoning_qa": "Reasoning QA",
    "trivia_qa": "TriviaQA",
    "web_questions": "Web Questions",
}


def _scorer(subset: str, rules: Rules) -> Scorer:
    def asks(answer: Answered) -> Ask:
        fields = {"question": answer.row["question"].strip(), "prediction": text(answer)}
        if subset != "alpaca_eval":  # its judge sees no reference
            fields["answer"] = answer.row["reference"].strip()
        return Ask(f"openaudiobench_{subset}", fields)

    return judged(asks, lambda replies: openaudiobench.score(subset, replies[0], rules=rules))


def _benchmark(subset: str, title: str) -> Benchmark:
    scorers = under(functools.partial(_scorer, subset), "evalkit", "strict")
    return Benchmark(f"openaudiobench/{subset}", title, "s2t", "%", scorers)


BENCHMARKS: Final = tuple(_benchmark(subset, title) for subset, title in _TITLES.items())
