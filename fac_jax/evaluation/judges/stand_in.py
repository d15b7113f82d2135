"""What stands in for a judge where there is none: looks whether the reply contains the reference.

It answers in the form of the template, so that the same scorer reads it. For grades (1 to 5, 1 to 10) nothing simple is
meaningful, and such requests stay without a judgement. No value of it may stand beside one of a judge.
"""

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from fac_jax.evaluation.judges.base import NO_SCALE, Accept, JudgeIdentity, Judgement, Request
from fac_jax.evaluation.judges.templates import TEMPLATES

# How a template wants to be told whether a reply is right.
_ANSWERS: Final[Mapping[str, Callable[[bool], str]]] = {
    "voicebench_qa": lambda right: "yes" if right else "no",
    "evalkit_sd_qa": lambda right: "yes" if right else "no",
    "bigbench_audio": lambda right: "CORRECT" if right else "INCORRECT",
    "evalkit_single_choice": lambda right: f"Result: {'yes' if right else 'no'}",
    "openaudiobench_llama_questions": lambda right: f"the score is [{'Correct' if right else 'Incorrect'}]",
    **dict.fromkeys(
        ("openaudiobench_trivia_qa", "openaudiobench_web_questions"),
        lambda right: json.dumps({"analysis": "stand-in", "judgment": "correct" if right else "incorrect"}),
    ),
}


class StandInJudge:
    """Answers at once and always the same."""

    def identity(self, template: str) -> JudgeIdentity:
        """Says that this is a stand-in."""
        return JudgeIdentity("stand_in", template)

    def ask(self, requests: Sequence[Request], accept: Accept) -> Iterator[Judgement]:
        """Yields judgements in the order of the requests; see `Judge.ask`."""
        del accept  # what it says can be read
        for request in requests:
            answer = _ANSWERS.get(request.template)
            if answer is None:
                yield Judgement(request.id, None, NO_SCALE)
                continue
            fields = request.fields
            reference = fields["reference"] if "reference" in fields else fields["answer"]
            reply = fields["response"] if "response" in fields else fields["prediction"]
            count = TEMPLATES[request.template].decoding.replies
            yield Judgement(request.id, (answer(contains(reply, reference)),) * count)


def contains(reply: str, reference: str) -> bool:
    """Returns whether a reply contains a reference, or one of a printed list of references, word for word.

    Capitals, punctuation and compatibility forms do not count. A single letter, the answer to a choice, is compared
    with the first capital letter that stands alone.
    """
    if re.fullmatch("[A-Z]", reference.strip()):
        chosen = re.search(r"\b[A-Z]\b", reply)
        return chosen is not None and chosen[0] == reference.strip()
    said = _words(reply)
    return any(one != "  " and one in said for one in map(_words, _references(reference)))


def _references(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            return [str(one) for one in ast.literal_eval(text.strip())]
        except (ValueError, SyntaxError, TypeError):
            pass
    return [text]


def _words(text: str) -> str:
    """Words between blanks; a Chinese character is a word."""
    words = re.findall(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+", unicodedata.normalize("NFKC", text).casefold())
    return f" {' '.join(words)} "
