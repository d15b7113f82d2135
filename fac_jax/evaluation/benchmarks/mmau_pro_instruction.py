"""Rows of MMAU-Pro's category "instruction following": does a reply do as it was told?

The rules are those of https://github.com/sonalkum/MMAUPro (docs/evaluation.md).
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from fac_jax.evaluation.benchmarks.base import RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.language import sentences

Kwargs: TypeAlias = Mapping[str, Any]

_MANY: Final = 999  # the upper end of a range that is not given


def follows(task: str | None, kwargs: Kwargs | None, question: str, reply: str, rules: Rules = "official") -> bool:
    """Returns whether a reply follows the instruction of a row; it does not if the task is unknown.

    Args:
      task: the row's `task_identifier`, such as "Number Words (at least)".
      kwargs: what the instruction is given; None for nothing.
      question: the row's question.
      reply: text of the reply.
      rules: "official", or "strict", which reads a null in the kwargs as absent.

    Raises:
      RowRefusedError: the rule needs a value that is null, at which the official code stops.
    """
    given = {name: value for name, value in (kwargs or {}).items() if rules != "strict" or value is not None}
    if task == "Repeat Prompt":
        return reply.strip().lower().startswith(question.strip().lower())
    rule = _TASKS.get(task or "")
    return rule is not None and rule(reply, given)


def _include(reply: str, kwargs: Kwargs) -> bool:
    return all(word in reply.lower() for word in _words(kwargs, "keywords"))


def _forbid(reply: str, kwargs: Kwargs) -> bool:
    return not any(word in reply.lower() for word in _words(kwargs, "forbidden_words"))


def _keyword_frequency(reply: str, kwargs: Kwargs) -> bool:
    word = re.escape(_given(kwargs, "keyword", "").lower())
    return _equal(len(re.findall(rf"\b{word}\b", reply.lower())), kwargs)


def _paragraphs(reply: str, kwargs: Kwargs) -> bool:
    return _equal(_not_blank(reply.split("***")), kwargs)


def _bullets(reply: str, kwargs: Kwargs) -> bool:
    return _equal(len(re.findall(r"(?:^|\n)\s*\*\s+", reply)), kwargs)


def _sections(reply: str, kwargs: Kwargs) -> bool:
    splitter = re.escape(_given(kwargs, "section_splitter", ""))
    return _equal(_not_blank(re.split(rf"\s*{splitter}\s*", reply.strip())), kwargs)


def _placeholders(reply: str, kwargs: Kwargs) -> bool:
    return _at_least(len(re.findall(r"\[[^\]]+\]", reply)), kwargs)


def _highlights(reply: str, kwargs: Kwargs) -> bool:
    return _at_least(len(re.findall(r"\*([^*]+)\*", reply)), kwargs)


def _title(reply: str, kwargs: Kwargs) -> bool:
    return re.search(r"<<[^>]+>>", reply) is not None


def _postscript(reply: str, kwargs: Kwargs) -> bool:
    marker = _letters(_given(kwargs, "postscript_marker", ""))
    return marker.replace(" ", "") in _letters(reply).replace(" ", "")


def _start(reply: str, kwargs: Kwargs) -> bool:
    return _letters(reply).startswith(_letters(_given(kwargs, "start_phrase", "")))


def _end(reply: str, kwargs: Kwargs) -> bool:
    return _letters(reply).endswith(_letters(_given(kwargs, "end_phrase", "")))


def _two_responses(reply: str, kwargs: Kwargs) -> bool:
    pieces = [piece.strip().lower() for piece in reply.split("******")]
    return len(pieces) == 2 and pieces[0] != pieces[1]


def _quotation(reply: str, kwargs: Kwargs) -> bool:
    reply = reply.strip()
    return reply.startswith('"') and reply.endswith('"')  # a lone quotation mark is both


def _equal(count: int, kwargs: Kwargs) -> bool:
    return count == kwargs.get("N", 0)  # a null equals no count, and stops nothing


def _at_least(count: int, kwargs: Kwargs) -> bool:
    return count >= _given(kwargs, "N", 0)


def _at_most(count: int, kwargs: Kwargs) -> bool:
    return count <= _given(kwargs, "N", 0)


def _in_range(count: int, kwargs: Kwargs) -> bool:
    return _given(kwargs, "N1", 0) <= count <= _given(kwargs, "N2", _MANY)


def _given(kwargs: Kwargs, name: str, default: Any) -> Any:
    value = kwargs.get(name, default)
    if value is None:
        raise RowRefusedError(f"{name} is null")
    return value


def _words(kwargs: Kwargs, name: str) -> list[str]:
    return _given(kwargs, name, "").lower().split(", ")


def _not_blank(pieces: list[str]) -> int:
    return sum(bool(piece.strip()) for piece in pieces)


def _letters(text: str) -> str:
    """Returns the letters of English and the blanks of a text, in lower case."""
    return re.sub("[^a-zA-Z ]", "", text).lower()


_COUNTS: Final[Mapping[str, Callable[[str], int]]] = {
    "Number Words": lambda reply: len(reply.split()),
    "Number Sentences": lambda reply: len(sentences(reply)),
    "All-capital Words": lambda reply: sum(word.isupper() for word in reply.split()),
}
_BOUNDS: Final[Mapping[str, Callable[[int, Kwargs], bool]]] = {
    "(at least)": _at_least,
    "(at most)": _at_most,
    "(range)": _in_range,
}
_TASKS: Final[Mapping[str, Callable[[str, Kwargs], bool]]] = {
    "Include Keywords": _include,
    "Forbidden Words": _forbid,
    "Keyword Frequency": _keyword_frequency,
    "Number Paragraphs": _paragraphs,
    "Number Bullets": _bullets,
    "Number Placeholder": _placeholders,
    "Minimum Number Highlighted Section": _highlights,
    "Multiple Sections": _sections,
    "Title": _title,
    "Postscript": _postscript,
    "Start Checker": _start,
    "End Checker": _end,
    "Two Responses": _two_responses,
    "All Uppercase": lambda reply, kwargs: reply.isupper(),
    "All Lowercase": lambda reply, kwargs: reply.islower(),
    "Quotation": _quotation,
    "No Commas": lambda reply, kwargs: "," not in reply,
    **{
        f"{name} {bound}": lambda reply, kwargs, count=count, holds=holds: holds(count(reply), kwargs)
        for name, count in _COUNTS.items()
        for bound, holds in _BOUNDS.items()
    },
}
