"""Instructions on the form of a reply: paragraphs, lists, sections, a title, JSON."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from fac_jax.evaluation.benchmarks.base import RowRefusedError

_FENCE: Final = "```"
_OPENINGS: Final = (f"{_FENCE}json", f"{_FENCE}Json", f"{_FENCE}JSON", _FENCE)


def paragraphs(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the number of paragraphs, which three asterisks divide; none may be blank between two of them."""
    pieces = re.split(r"\s?\*\*\*\s?", reply)
    blank = [not piece.strip() for piece in pieces]
    return not any(blank[1:-1]) and blank.count(False) == kwargs["num_paragraphs"]


def nth_paragraph_first_word(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the number of paragraphs, which empty lines divide, and the first word of one of them.

    Raises:
      RowRefusedError: there is no such paragraph, and the one that the official code draws instead decides.
    """
    nth, count = kwargs["nth_paragraph"], kwargs["num_paragraphs"]
    pieces = reply.split("\n\n")
    if sum(bool(piece.strip()) for piece in pieces) != count:
        return False
    right = [_first_word(piece) == kwargs["first_word"].lower() for piece in pieces[:count]]
    if nth <= count:
        return right[nth - 1]  # of all pieces, although blank ones are not counted as paragraphs
    if any(right):
        raise RowRefusedError(f"nth_paragraph {nth} of {count}: the official code draws another")
    return False


def bullets(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks the number of list items, which start with an asterisk or a hyphen."""
    starred = re.findall(r"^\s*\*[^\*].*$", reply, re.MULTILINE)
    dashed = re.findall(r"^\s*-.*$", reply, re.MULTILINE)
    return len(starred) + len(dashed) == kwargs["num_bullets"]


def highlights(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that at least so many places stand between asterisks, one or two on each side."""
    found = re.findall(r"\*([^\n\*]*)\*", reply) + re.findall(r"\*\*([^\n\*]*)\*\*", reply)
    return sum(bool(place.strip()) for place in found) >= kwargs["num_highlights"]


def sections(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has at least so many sections, each headed by a word and a number."""
    pieces = re.split(rf"\s?{kwargs['section_spliter'].strip()}\s?\d+\s?", reply)
    return len(pieces) - 1 >= kwargs["num_sections"]


def json_format(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply is JSON, which may stand in a code fence; NaN counts as JSON."""
    reply = reply.strip()
    for opening in _OPENINGS:
        reply = reply.removeprefix(opening)
    try:
        json.loads(reply.removesuffix(_FENCE).strip())
    except ValueError:
        return False
    return True


def title(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply has a title in double angular brackets."""
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<[^\n]+>>", reply))


def two_responses(reply: str, kwargs: Mapping[str, Any]) -> bool:
    """Checks that the reply is two different responses, which six asterisks divide."""
    pieces = [piece.strip() for piece in reply.split("******")]
    found = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(found) == 2 and found[0] != found[1]


def _first_word(paragraph: str) -> str:
    """Returns the first word in lower case, up to a punctuation mark; "" for a blank paragraph."""
    token = (paragraph.split() or [""])[0].lstrip("'").lstrip('"')
    return re.split(r"[.,?!'\"]", token)[0].lower()
