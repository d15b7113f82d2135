"""Instructions on the language of a reply and its case."""

from collections.abc import Mapping
from typing import Any, Final

from fac_jax.evaluation.benchmarks.language import language_of

# The languages that the official code has names for; it stops at any other.
LANGUAGES: Final = tuple(
    "en es pt ar hi fr ru de ja it bn uk th ur ta te bg ko pl he fa vi ne sw kn mr gu pa ml fi".split()
)


def response_language(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the language of the reply; a reply whose language cannot be told passes."""
    return language_of(reply) in (None, kwargs["language"])


def english_capital(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply is English in capital letters."""
    return reply.isupper() and language_of(reply) in (None, "en")


def english_lowercase(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply is English in lower-case letters."""
    return reply.islower() and language_of(reply) in (None, "en")
