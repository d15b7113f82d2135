"""Instructions on how often something is in a reply: at least, or less than, a number of times."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fac_jax.evaluation.benchmarks import language

RELATIONS: Final = ("less than", "at least")


def sentences(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the number of English sentences."""
    return _holds(len(language.sentences(reply)), kwargs["relation"], kwargs["num_sentences"])


def words(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the number of words, which are runs of letters, digits and underscores."""
    return _holds(len(re.findall(r"\w+", reply)), kwargs["relation"], kwargs["num_words"])


def keyword(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks how often a keyword, read as a regular expression, is in the reply."""
    found = re.findall(kwargs["keyword"].strip(), reply, re.IGNORECASE)
    return _holds(len(found), kwargs["relation"], kwargs["frequency"])


def letter(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks how often a letter is in the reply, in either case."""
    found = reply.lower().count(kwargs["letter"].lower())
    return _holds(found, kwargs["let_relation"], kwargs["let_frequency"])


def capital_words(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the number of words in capital letters only."""
    found = sum(word.isupper() for word in language.words(reply))
    return _holds(found, kwargs["capital_relation"], kwargs["capital_frequency"])


def _holds(count: int, relation: str, bound: int) -> bool:
    return count < bound if relation == "less than" else count >= bound
