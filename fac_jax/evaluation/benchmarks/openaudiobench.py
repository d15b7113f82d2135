"""OpenAudioBench: what a judge's reply says, in the form of each subset (Kimi-Audio-Evalkit, docs/evaluation.md)."""

import ast
import json
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG, Summary, mean_points, summarize

UNPARSED: Final = "unparsed"
_MOST: Final = 10  # of alpaca_eval
_BRACKETS: Final = re.compile(r"\[\[(\d+)\]\]")
_VERDICT: Final = re.compile(r"[Tt]he score is \[(Correct|Incorrect|correct|incorrect)\]")
_GRADE: Final = re.compile(r"\[([0-5])\]")


def score(subset: str, reply: str, *, rules: Rules) -> Outcome:
    """Scores one row by the judge's reply, from 0 to 100 points.

    Args:
      subset: alpaca_eval, llama_questions, reasoning_qa, trivia_qa or web_questions.
      reply: what the judge wrote.
      rules: "evalkit" leaves out a reply that cannot be read; "strict" counts it as 0 points, and reads JSON too.

    Raises:
      RowRefusedError: under "evalkit", a grade of alpaca_eval is not from 1 to 10.
    """
    points = _READERS[subset](reply, rules)
    if points is not None:
        return Outcome(points)
    return Outcome(WRONG, detail={"remark": UNPARSED}) if rules == "strict" else Outcome(None, UNPARSED)


def summarize_points(outcomes: Sequence[Outcome], *, rules: Rules) -> Summary:
    """Returns `value`, the mean points of the scored rows of a subset; Kimi-Audio-Evalkit rounds it to 2 decimals."""
    return summarize(outcomes, {"value": mean_points(outcomes, 2 if rules == "evalkit" else None)})


def _alpaca_eval(reply: str, rules: Rules) -> float | None:
    found = _BRACKETS.search(reply)
    if not found:
        return None
    grade = int(found[1])
    if 1 <= grade <= _MOST:
        return RIGHT * grade / _MOST
    if rules == "strict":
        return None
    raise RowRefusedError(f"the judge's grade {grade} is not from 1 to {_MOST}")


def _llama_questions(reply: str, rules: Rules) -> float | None:
    del rules
    found = _VERDICT.search(reply)
    return _right(found[1]) if found else None


def _reasoning_qa(reply: str, rules: Rules) -> float | None:
    del rules
    grades = _GRADE.findall(reply)
    return RIGHT * int(grades[-1]) / 5 if grades else None


def _judgment(reply: str, rules: Rules) -> float | None:
    found = _python_object(reply)
    if found is None and rules == "strict":
        found = _json_object(reply)
    judgment = found.get("judgment") if found else None
    return _right(judgment) if isinstance(judgment, str) else None


def _right(verdict: str) -> float:
    return RIGHT if verdict.lower() == "correct" else WRONG


def _python_object(reply: str) -> Mapping[Any, Any] | None:
    """Reads the text from the first { to the first } as a Python literal; None if it is no dictionary.

    This is Kimi-Audio-Evalkit's quirk: a } inside a text, null and true make the reply unreadable.
    """
    text = reply[reply.find("{") : reply.find("}") + 1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown escapes, which LaTeX in a reply brings
            found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _json_object(reply: str) -> Mapping[str, Any] | None:
    """Reads the JSON object that begins at the first {; None if there is none."""
    start = reply.find("{")
    try:
        return json.JSONDecoder(strict=False).raw_decode(reply, start)[0] if start >= 0 else None
    except (ValueError, RecursionError):
        return None


_READERS: Final[Mapping[str, Callable[[str, Rules], float | None]]] = {
    "alpaca_eval": _alpaca_eval,
    "llama_questions": _llama_questions,
    "reasoning_qa": _reasoning_qa,
    "trivia_qa": _judgment,
    "web_questions": _judgment,
}
