"""Instructions on what a reply contains, how it starts and how it ends."""

import re
from collections.abc import Mapping
from typing import Any, Final

_ANSWERS: Final = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS: Final[Mapping[str, str]] = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}


def keywords(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has all keywords, which are read as regular expressions."""
    return all(re.search(word, reply, re.IGNORECASE) for word in sorted(kwargs["keywords"]))


def forbidden_words(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has none of the words, which are read as regular expressions."""
    return not any(re.search(rf"\b{word}\b", reply, re.IGNORECASE) for word in sorted(kwargs["forbidden_words"]))


def placeholders(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has at least so many places in square brackets."""
    return len(re.findall(r"\[.*?\]", reply)) >= kwargs["num_placeholders"]


def postscript(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has the marker of a postscript; one that is not known is read as a regular expression."""
    marker: str = kwargs["postscript_marker"].strip()
    return re.search(_POSTSCRIPTS.get(marker, marker.lower()), reply.lower(), re.MULTILINE) is not None


def constrained_response(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has one of the three answers that are allowed."""
    return any(answer in reply for answer in _ANSWERS)


def repeat_prompt(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply starts with a prompt, whatever the case."""
    return reply.strip().lower().startswith(kwargs["prompt_to_repeat"].strip().lower())


def end(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply ends with a phrase, whatever the case; quotation marks around the reply do not count."""
    return reply.strip().strip('"').lower().endswith(kwargs["end_phrase"].strip().lower())


def quotation(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply stands between straight quotation marks."""
    reply = reply.strip()
    return len(reply) > 1 and reply.startswith('"') and reply.endswith('"')


def no_comma(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has no comma."""
    return "," not in reply
