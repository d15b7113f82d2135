"""VStyle: the score that a judge of spoken style gives, and the weights of the abilities.

Source: alibaba/vstyle (docs/evaluation.md). Scores are meant to be 1-5. An ability is "group/part".
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from fac_jax.evaluation.benchmarks.base import Outcome, Rules

COMPOSITE: Final = "composite_properties"
PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "acoustic_attributes": ("age", "speed", "gender", "emotion", "pitch", "volume", COMPOSITE),
    "instruction": ("emotion", "style", "variation"),
    "role_play": ("scenario", "character"),
    "empathy": ("anger", "sadness_disappointment", "anxiety_fear", "joy_excitement"),
}


def _weight(group: str, part: str) -> float:
    if group != "acoustic_attributes":
        return 1 / len(PARTS[group]) / len(PARTS)
    return (1 / 2 if part == COMPOSITE else 1 / 2 / (len(PARTS[group]) - 1)) / len(PARTS)


WEIGHTS: Final[Mapping[str, float]] = {
    f"{group}/{part}": _weight(group, part) for group, parts in PARTS.items() for part in parts
}


def read_score(reply: str) -> tuple[str, float] | None:
    """Reads a judge's score as text and number; None if there is none.

    The last "[[..]]" that holds a number counts, else the whole reply if it is a number. A number is whatever Python's
    `float` takes, "nan" and "inf" too, and it is not checked to be 1-5.
    """
    marked = [text.strip() for text in re.findall(r"\[\[(.*?)\]\]", reply, re.DOTALL)]
    for text in (*reversed(marked), reply.strip()):
        try:
            return text, float(text)
        except ValueError:
            continue
    return None


def score(reply: str, rules: Rules = "official") -> Outcome:
    """Scores a row by its judge's reply: points are the score.

    Args:
      reply: the judge's reply.
      rules: "official" takes any number; "strict" takes only 1-5. A row without such a score is not scored.
    """
    found = read_score(reply)
    if found is None or (rules == "strict" and not 1 <= found[1] <= 5):
        return Outcome(None, "unparsed")
    return Outcome(found[1], detail={"score_text": found[0]})


def overall(means: Mapping[str, float]) -> float:
    """Returns the weighted mean of the means of abilities.

    Each of the four groups has a quarter of the weight, shared evenly by its parts; of acoustic_attributes
    composite_properties has half. Abilities that are absent drop out, and those that have no weight are left aside.

    Raises:
      ValueError: no ability has a weight.
    """
    if not coverage(means):
        raise ValueError(f"overall value of abilities without weights: {', '.join(means) or 'none'}")
    return math.fsum(WEIGHTS[name] * means[name] for name in _weighted(means)) / coverage(means)


def coverage(means: Mapping[str, float]) -> float:
    """Returns the weight of the abilities that are present, in [0, 1]."""
    return math.fsum(WEIGHTS[name] for name in _weighted(means))


def group_values(means: Mapping[str, float]) -> dict[str, float]:
    """Returns the value of each of the four groups that has an ability, weighted as in `overall`."""
    members = {
        group: {name: means[name] for name in _weighted(means) if name.startswith(f"{group}/")} for group in PARTS
    }
    return {group: overall(found) for group, found in members.items() if found}


def _weighted(means: Mapping[str, float]) -> list[str]:
    return [name for name in means if name in WEIGHTS]
