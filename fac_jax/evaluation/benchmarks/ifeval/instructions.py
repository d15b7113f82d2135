"""All instructions by their ids, and what each must be given."""

import dataclasses
import re
import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from fac_jax.evaluation.benchmarks.base import RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.ifeval import content, counting, layout, wording

Kwargs: TypeAlias = Mapping[str, Any]


def _count(value: Any) -> bool:
    return isinstance(value, int | float) and value > 0


def _position(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, Sequence)


def _character(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 1


def _relation(value: Any) -> bool:
    return value in counting.RELATIONS


def _language(value: Any) -> bool:
    return value in wording.LANGUAGES


@dataclasses.dataclass(frozen=True)
class Instruction:
    """An instruction, which says whether a reply follows it.

    Attributes:
      follows: takes a reply that is not blank, and the kwargs.
      kwargs: what must be given, by name; each function says whether a value is one that the official code can use.
    """

    follows: Callable[[str, Kwargs], bool]
    kwargs: Mapping[str, Callable[[Any], bool]] = dataclasses.field(default_factory=dict)


INSTRUCTIONS: Final[Mapping[str, Instruction]] = {
    "keywords:existence": Instruction(content.keywords, {"keywords": _texts}),
    "keywords:frequency": Instruction(counting.keyword, {"keyword": _text, "frequency": _count, "relation": _relation}),
    "keywords:forbidden_words": Instruction(content.forbidden_words, {"forbidden_words": _texts}),
    "keywords:letter_frequency": Instruction(
        counting.letter, {"letter": _character, "let_frequency": _count, "let_relation": _relation}
    ),
    "language:response_language": Instruction(wording.response_language, {"language": _language}),
    "length_constraints:number_sentences": Instruction(
        counting.sentences, {"num_sentences": _count, "relation": _relation}
    ),
    "length_constraints:number_words": Instruction(counting.words, {"num_words": _count, "relation": _relation}),
    "length_constraints:number_paragraphs": Instruction(layout.paragraphs, {"num_paragraphs": _count}),
    "length_constraints:nth_paragraph_first_word": Instruction(
        layout.nth_paragraph_first_word,
        {"num_paragraphs": _position, "nth_paragraph": _position, "first_word": _text},
    ),
    "detectable_content:number_placeholders": Instruction(content.placeholders, {"num_placeholders": _count}),
    "detectable_content:postscript": Instruction(content.postscript, {"postscript_marker": _text}),
    "detectable_format:number_bullet_lists": Instruction(layout.bullets, {"num_bullets": _count}),
    "detectable_format:constrained_response": Instruction(content.constrained_response),
    "detectable_format:number_highlighted_sections": Instruction(layout.highlights, {"num_highlights": _count}),
    "detectable_format:multiple_sections": Instruction(
        layout.sections, {"section_spliter": _text, "num_sections": _count}
    ),
    "detectable_format:json_format": Instruction(layout.json_format),
    "detectable_format:title": Instruction(layout.title),
    "combination:two_responses": Instruction(layout.two_responses),
    "combination:repeat_prompt": Instruction(content.repeat_prompt, {"prompt_to_repeat": _text}),
    "startend:end_checker": Instruction(content.end, {"end_phrase": _text}),
    "startend:quotation": Instruction(content.quotation),
    "change_case:capital_word_frequency": Instruction(
        counting.capital_words, {"capital_frequency": _count, "capital_relation": _relation}
    ),
    "change_case:english_capital": Instruction(wording.english_capital),
    "change_case:english_lowercase": Instruction(wording.english_lowercase),
    "punctuation:no_comma": Instruction(content.no_comma),
}


def prepare(id: str, kwargs: Kwargs, rules: Rules) -> Callable[[str], bool]:
    """Returns a function that says whether a reply follows an instruction; a blank reply follows none.

    Args:
      id: id of the instruction, such as "punctuation:no_comma".
      kwargs: what it is given; values that are empty, 0 or null count as absent, as they do for the official code.
      rules: under "strict", the letter to count may be any character.

    Raises:
      RowRefusedError: the instruction is unknown, or a value is one at which the official code stops or, like one that
        is absent, draws another at random.
    """
    if id not in INSTRUCTIONS:
        raise RowRefusedError(f"unknown instruction {id}")
    instruction = INSTRUCTIONS[id]
    given = {name: value for name, value in kwargs.items() if value}
    for name in given.keys() - instruction.kwargs.keys():
        raise RowRefusedError(f"{id}: takes no {name}")
    for name, usable in instruction.kwargs.items():
        if name not in given:
            raise RowRefusedError(f"{id}: no {name}; the official code draws one")
        if not usable(given[name]):
            raise RowRefusedError(f"{id}: {name} cannot be {given[name]!r}")
    # Two rows of IFEval ask for "#" and "!", for which the official code draws a letter.
    if rules != "strict" and given.get("letter", "a").lower() not in string.ascii_lowercase:
        raise RowRefusedError(f"{id}: letter {given['letter']!r}; the official code draws another")

    def follows(reply: str) -> bool:
        try:
            return bool(reply.strip()) and instruction.follows(reply, given)
        except re.error as error:
            raise RowRefusedError(f"{id}: not a regular expression: {error}") from error

    return follows
