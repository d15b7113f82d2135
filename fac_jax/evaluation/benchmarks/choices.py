"""Multiple choice of VoiceBench (MMSU and OpenBookQA): the letter that a reply names (docs/evaluation.md).

With rules="evalkit" this is its scoring method `vb-mcq`; by default Kimi-Audio-Evalkit asks a judge (`qa_votes`).
"""

import random
import re
from collections.abc import Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Rules
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG, Summary, mean, mean_points, summarize

LETTERS: Final = ("A", "B", "C", "D")
RANDOM: Final = "random letter"
UNPARSED: Final = "unparsed"
_MARKS: Final = ("<1>", "<2>", "<3>")
_BARE: Final = re.compile(r"([a-d])(?:\Z|[.,:)])")


def read_letter(reply: str, phrases: Sequence[str]) -> str | None:
    """Returns the letter A to D that a reply names, or None.

    The first phrase that occurs with any letter decides. Phrases know no word boundaries: "the answer is both" reads B.

    Args:
      reply: what the model wrote.
      phrases: lower-case phrases in their order, in which @ stands for the letter.
    """
    reply = reply.lower()
    if reply.startswith(_MARKS):
        reply = reply[len(_MARKS[0]) :].strip()
    for phrase in phrases:
        for letter in LETTERS:
            if phrase.replace("@", letter.lower()) in reply:
                return letter
    bare = _BARE.match(reply)
    return bare[1].upper() if bare else None


def score(
    replies: Sequence[str], references: Sequence[str], *, rules: Rules, assets: Assets, seed: int = 0
) -> list[Outcome]:
    """Scores all replies of a subset, in their order: 100 points for the right letter, 0 for another.

    Args:
      replies: what the model wrote.
      references: the right letters.
      rules: all but "ultraeval" read with VoiceBench's phrases. "official" and "evalkit" give a reply without a letter
        a random one; the others count it as wrong.
      assets: where phrases.json lies.
      seed: of the random letters.

    Raises:
      InputError: phrases.json is missing or damaged.
    """
    phrases = assets.phrases("mcq_ultraeval" if rules == "ultraeval" else "mcq_official")
    draws = random.Random(seed)
    return [
        _outcome(read_letter(reply, phrases), reference, rules, draws)
        for reply, reference in zip(replies, references, strict=True)
    ]


def _outcome(letter: str | None, reference: str, rules: Rules, draws: random.Random) -> Outcome:
    if letter is not None:
        return Outcome(RIGHT if letter == reference else WRONG, detail={"letter": letter})
    if rules in ("official", "evalkit"):  # VoiceBench's quirk: a reply that cannot be read gets a random letter
        letter = draws.choice(LETTERS)
        return Outcome(RIGHT if letter == reference else WRONG, detail={"letter": letter, "remark": RANDOM})
    return Outcome(WRONG, detail={"letter": None, "remark": UNPARSED})


def summarize_letters(outcomes: Sequence[Outcome]) -> Summary:
    """Returns percentages of all rows.

    Returns:
      acc: right rows, under the rules of the outcomes. fail: rows without a letter. acc_unparsed_wrong: `acc` with all
      of those wrong. acc_expected: `acc` with a quarter of those right, the expectation of a random letter.
    """
    unread = ["remark" in outcome.detail for outcome in outcomes]
    read = [WRONG if none else outcome.points or WRONG for outcome, none in zip(outcomes, unread, strict=True)]
    values = {
        "acc": mean_points(outcomes),
        "fail": mean(RIGHT * none for none in unread),
        "acc_unparsed_wrong": mean(read),
        "acc_expected": mean(RIGHT / len(LETTERS) if none else one for one, none in zip(read, unread, strict=True)),
    }
    return summarize(outcomes, values)
