"""Questions of UltraEval-Audio: whether the transcript of a spoken reply contains an answer (docs/evaluation.md).

The scorer is its `qa-exist-match`, for Llama Questions, TriviaQA and Web Questions.
"""

import unicodedata
from collections.abc import Sequence
from typing import Any

from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG, Summary, mean, mean_points, summarize


def tokens(text: str) -> list[str]:
    """Returns lower-case words (letters, numbers and marks of any script) and single other visible characters.

    The text is decomposed first (NFD), so that an accent is a mark of its own.
    """
    found: list[str] = []
    inside = False
    for character in unicodedata.normalize("NFD", text):
        kind = unicodedata.category(character)[0]
        word = kind in "LNM"
        if word and inside:
            found[-1] += character
        elif kind not in "ZC":  # separators and control characters
            found.append(character)
        inside = word
    return [token.lower() for token in found]


def contains(transcript: Sequence[str], answer: Sequence[str]) -> bool:
    """Returns whether the tokens of an answer are a contiguous part of those of a transcript; no tokens always are."""
    return any(transcript[i : i + len(answer)] == answer for i in range(len(transcript) - len(answer) + 1))


def score(prediction: Any, label: Any, *, rules: Rules) -> Outcome:
    """Scores one row: 100 points if the transcript contains any answer, else 0.

    Args:
      prediction: the transcript. What is no text is read as Python prints it, so a missing transcript reads "None":
        UltraEval-Audio's quirk, under "official" only; under "strict" it is wrong.
      label: an answer or a list of answers. Under "official" an answer without tokens is in every transcript.
      rules: "official" is UltraEval-Audio.

    Raises:
      RowRefusedError: under "official", an answer is no text.
    """
    answers = [label] if isinstance(label, str) else label if isinstance(label, list) else [None]
    if rules == "strict":
        return _score_strictly(prediction, answers)
    transcript = tokens(str(prediction))
    for answer in answers:
        if not isinstance(answer, str):
            raise RowRefusedError("the label is neither a text nor a list of texts")
        if contains(transcript, tokens(answer)):
            return Outcome(RIGHT)
    return Outcome(WRONG)


def _score_strictly(prediction: Any, answers: Sequence[Any]) -> Outcome:
    if not isinstance(prediction, str) or not all(isinstance(answer, str) for answer in answers):
        return Outcome(WRONG, detail={"remark": "no text"})
    transcript = tokens(prediction)
    wanted = [found for answer in answers if (found := tokens(answer))]
    return Outcome(RIGHT if any(contains(transcript, answer) for answer in wanted) else WRONG)


def summarize_matches(outcomes: Sequence[Outcome]) -> Summary:
    """Returns percentages: `acc` of the scored rows, and `fail_rate`, the rows of all that could not be scored."""
    failed = mean(RIGHT * (outcome.points is None) for outcome in outcomes)
    return summarize(outcomes, {"acc": mean_points(outcomes), "fail_rate": failed})
