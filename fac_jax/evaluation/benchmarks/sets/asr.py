"""Speech recognition: LibriSpeech and Common Voice (docs/evaluation.md, "Speech recognition")."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Rules
from fac_jax.evaluation.benchmarks.benchmark import TRANSCRIBE, Answered, Benchmark, Scorer, Scores
from fac_jax.evaluation.benchmarks.measure import Measure
from fac_jax.evaluation.benchmarks.sets.common import text, under
from fac_jax.evaluation.benchmarks.wer import evalkit, tools

_TITLES: Final = {
    "librispeech-test-clean": "LibriSpeech test-clean",
    "librispeech-test-other": "LibriSpeech test-other",
    "common-voice-en": "Common Voice EN",
    "common-voice-zh": "Common Voice ZH",
}


def _scorer(rules: Rules) -> Scorer:
    """Returns errors / reference tokens of the corpus by the tool of a rule set; points of a row are its errors."""

    def score(answers: Sequence[Answered], assets: Assets) -> Scores:
        dropped = [rules == "evalkit" and evalkit.is_left_out(answer.reply) for answer in answers]
        kept = [answer for answer, left in zip(answers, dropped, strict=True) if not left]
        language = answers[0].row["language"]
        rows, rate = tools.score([(one.row["ref"], text(one)) for one in kept], tools.TOOLS[rules], language)
        found = iter(rows)
        outcomes: list[Outcome] = []
        sums, counts = np.zeros((2, len(answers), 1))
        for n, left in enumerate(dropped):
            if left:
                outcomes.append(Outcome(None, "no reply"))
                continue
            row = next(found)
            sums[n], counts[n] = row.errors, len(row.reference)
            outcomes.append(Outcome(float(row.errors), detail={"words": len(row.reference)}))
        values = {"sentence_errors": float(rate.sentence_errors)}
        return Scores(outcomes, Measure([one.id for one in answers], sums, counts, np.ones(1), 100.0), values)

    return Scorer(score)


BENCHMARKS: Final = tuple(
    Benchmark(
        f"asr/{subset}",
        title,
        "s2t",
        "% word errors",
        under(_scorer, "official", "evalkit", "ultraeval"),
        instruction=lambda row: TRANSCRIBE,
        lower_is_better=True,
    )
    for subset, title in _TITLES.items()
)
