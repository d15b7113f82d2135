"""Big Bench Audio: a judge's CORRECT or INCORRECT, and a match of closed answers that needs no judge.

Source: the release of the data set ArtificialAnalysis/big_bench_audio. It has 1000 spoken questions, 250 each of
formal_fallacies (valid, invalid), navigate and web_of_lies (yes, no) and object_counting (a number). Audio replies are
transcribed by OpenAI's Whisper; Claude 3.5 Sonnet (October 2024) is shown the question, the official answer and the
reply, and is asked for the one word CORRECT or INCORRECT. It is told that of an answer with working the final answer
counts, that numbers may be words, and that names may be misspelt.

Not published: how the judge's word is read (the reading here is ours), the decoding of the judge, and what becomes of
a reply that is neither word. The paper of Fun-Audio-Chat does not print this benchmark.
"""

import re
from typing import Final

from fac_jax.evaluation.benchmarks.base import Outcome, Row, RowRefusedError
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG

_UNITS: Final = "zero one two three four five six seven eight nine".split()
_TEENS: Final = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS: Final = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_NUMBERS: Final = {word: number for number, word in enumerate((*_UNITS, *_TEENS))} | {
    word: 10 * number for number, word in enumerate(_TENS, 2)
}
_NUMBER: Final = re.compile(
    rf"\d+|\b(?:(?:{'|'.join(_TENS)})(?:[- ](?:{'|'.join(_UNITS[1:])}))?|{'|'.join((*_UNITS, *_TEENS))})\b"
)
_YES_NO: Final = re.compile(r"\b(?:yes|no)\b")
_VALID: Final = re.compile(r"(?:(?:\bnot|n['’]t)\s+(?:\w+ly\s+)?|\b)valid\b|\binvalid\b")


def score_judged(judge_reply: str) -> Outcome:
    """Scores a row by its judge's reply, 100 or 0 points.

    The reply must have one of the words CORRECT and INCORRECT, in capitals or not, and not both; else the row is not
    scored.
    """
    words = set(re.findall(r"\b(?:IN)?CORRECT\b", judge_reply.upper()))
    if len(words) != 1:
        return Outcome(None, "unparsed")
    return Outcome(RIGHT if words == {"CORRECT"} else WRONG)


def score_closed(row: Row, reply: str | None) -> Outcome:
    """Scores a reply without a judge, the rules "strict", 100 or 0 points.

    Of all words of the reply that could be an answer to such a question (yes and no; valid and invalid; numbers), the
    last must be the official answer. "not valid" is invalid. A reply without such a word is wrong. Prefer the judge
    for a published figure: "Yes, there is no doubt" ends on "no".

    Args:
      row: a row of bigbench-audio/test: official_answer.
      reply: the reply's text or transcript; None where the model gave none.

    Raises:
      RowRefusedError: the official answer is none of these.
    """
    official = row["official_answer"].strip().lower()
    pattern = next((one for one in (_YES_NO, _VALID, _NUMBER) if one.fullmatch(official)), None)
    if pattern is None:
        raise RowRefusedError(f"no closed answer: {row['official_answer']!r}")
    found = [_value(text) for text in pattern.findall((reply or "").lower().replace(",", ""))]
    last = found[-1] if found else None
    return Outcome(RIGHT if last == _value(official) else WRONG, detail={"answer": last})


def _value(text: str) -> str:
    """Writes numbers as digits, and every denial of "valid" as "invalid"."""
    parts = re.split(r"[- ]", text)
    if all(part in _NUMBERS for part in parts):
        return str(sum(_NUMBERS[part] for part in parts))
    if text.isdecimal():
        return str(int(text))
    return "invalid" if text.endswith("valid") and text != "valid" else text
