"""MMAU-Pro: open questions by a judge's five numbers, choices by embeddings, and the overall value.

Source: sonalkum/MMAUPro (docs/evaluation.md). Rows of the category "instruction following" are scored by
`mmau_pro_instruction`. The paper leaves rows with several audio files out. The points of a row are such that the
overall value is the mean of all rows: the official mean of categories is weighted by their rows.
"""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float

from fac_jax.evaluation.benchmarks.base import Outcome, Row
from fac_jax.evaluation.benchmarks.groups import Group
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG

OPEN: Final = "open"  # name of the category of open questions
BEST: Final = 5  # of the judge's scale
MISSING: Final = 3.0  # stands for a number that the judge did not give
GOOD: Final = 4.0
POOR: Final = 2.0


class OpenJudgement(NamedTuple):
    """The five numbers of a judge's reply, meant to be 1-5."""

    correctness: float
    relevance: float
    completeness: float
    clarity: float
    overall: float


def read_open_judgement(reply: str) -> OpenJudgement:
    """Reads a judge's reply to an open question, as the official code does.

    A number follows its name and a colon; the first one counts, capitals or not. A number that is missing is 3. The
    official code has three quirks: the name may be the end of a word such as INCORRECTNESS, no number is checked to
    be 1-5, and an overall of exactly 3 is replaced by the mean of the other four, as a missing one is.
    """
    parts = {name: _number(name, r"\d+", reply) for name in OpenJudgement._fields[:-1]}
    overall = _number("overall", r"\d+(?:\.\d+)?", reply)
    return OpenJudgement(**parts, overall=statistics.fmean(parts.values()) if overall == MISSING else overall)


def score_open(reply: str) -> Outcome:
    """Scores an open question by a judge's reply: points are 100 overall / 5."""
    found = read_open_judgement(reply)
    return Outcome(RIGHT * found.overall / BEST, detail=found._asdict())


def open_metrics(judgements: Sequence[OpenJudgement]) -> dict[str, float]:
    """Returns the figures that the official code prints of the open questions.

    Returns:
      "avg_X" and "std_X" (of the population) of each of the five numbers, and the shares in [0, 1] of replies with an
      overall of at least 4 ("good_response_rate") and of at most 2 ("poor_response_rate").
    """
    found: dict[str, float] = {}
    for name, values in zip(OpenJudgement._fields, zip(*judgements, strict=True), strict=True):
        found |= {f"avg_{name}": statistics.fmean(values), f"std_{name}": statistics.pstdev(values)}
    overall = [judgement.overall for judgement in judgements]
    found["good_response_rate"] = sum(value >= GOOD for value in overall) / len(overall)
    found["poor_response_rate"] = sum(value <= POOR for value in overall) / len(overall)
    return found


def nearest_choice(reply: Float[np.ndarray, " D"], choices: Float[np.ndarray, "C D"]) -> int:
    """Returns the index of the choice whose embedding has the largest cosine with the reply's; the first of equals."""
    norms = np.linalg.norm(choices, axis=1) * np.linalg.norm(reply)
    return int(np.argmax(choices @ reply / np.maximum(norms, 1e-12)))


def score_closed(row: Row, reply: Float[np.ndarray, " D"], choices: Float[np.ndarray, "C D"]) -> Outcome:
    """Scores a question with choices by embeddings, 100 or 0 points.

    Args:
      row: a row of mmau-pro/test: choices and answer.
      reply: embedding of the raw reply. The official embedder is nvidia/NV-Embed-v2 with an empty instruction; any
        other one, and `mmau.string_match`, is a stand-in.
      choices: embeddings of the choices, in their order.

    Returns:
      The outcome. A row with fewer than two choices is not scored.
    """
    if len(row["choices"]) < 2:
        return Outcome(None, "no choices")
    nearest = row["choices"][nearest_choice(reply, choices)]
    return Outcome(RIGHT if nearest == row["answer"] else WRONG, detail={"nearest": nearest})


def overall(categories: Mapping[str, Group]) -> float:
    """Returns the mean of the categories, weighted by their rows, in the unit of their means; 0 for no rows."""
    rows = sum(group.rows for group in categories.values())
    return math.fsum(group.mean * group.rows for group in categories.values()) / rows if rows else 0.0


def _number(name: str, pattern: str, reply: str) -> float:
    found = re.search(rf"{name}:\s*({pattern})", reply, re.IGNORECASE)
    return float(found[1]) if found else MISSING
