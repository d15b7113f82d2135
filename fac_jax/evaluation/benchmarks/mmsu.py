"""MMSU: the letter of a choice is read from a reply's first character, or from its last but one.

Source: dingdongwang/MMSU_Bench (docs/evaluation.md). The official reading fits replies such as "B", "B." and "The
answer is B.". The paper's own prompt shows choices as "(A)text", and a reply "(A) text" is not read at all: which
reading the authors used is unknown, so the number of rows that are not read belongs beside the value.
"""

from collections.abc import Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.base import Outcome, Row, Rules
from fac_jax.evaluation.benchmarks.groups import Group, group_means
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG

LETTERS: Final = "ABCD"
EMPTY: Final = ("", "None")
UNREAD: Final = "unparsed"
REFUSED: Final = "refused"


def read_letter(reply: str) -> str | None:
    """Returns the letter A-D of a reply; None if it has none where the official code looks."""
    text = _plain(reply)
    return next((letter for letter in (text[:1], text[-2:-1]) if letter and letter in LETTERS), None)


def score(rows: Sequence[Row], replies: Sequence[str | None], rules: Rules = "official") -> list[Outcome]:
    """Scores all replies of a file, 100 or 0 points each.

    Under "official" rows whose reply has no letter, or is no text, are not scored, and an empty reply takes the letter
    that was read last, in the order of the rows; one with no letter before it stops the official code, and is refused
    here. Under "strict" every row is scored, and all these are wrong.

    Args:
      rows: rows of mmsu/test: choice_a .. choice_d and answer_gt.
      replies: the replies; None is one that is no text. To the official code a field that is absent is "", not None.
      rules: "official" or "strict".
    """
    before: str | None = None  # the letter read last
    outcomes = []
    for row, reply in zip(rows, replies, strict=True):
        carried = rules == "official" and reply is not None and _plain(reply) in EMPTY  # quirk of MMSU_Bench
        letter = before if carried else read_letter(reply or "")
        before = letter or before
        outcomes.append(_outcome(row, letter, REFUSED if carried else UNREAD, rules))
    return outcomes


def accuracies(rows: Sequence[Row], outcomes: Sequence[Outcome]) -> dict[str, dict[str, Group]]:
    """Returns accuracies in percent: "total", "category", and "sub-category" with names "category/sub-category"."""
    return {
        "total": group_means(["total"] * len(rows), outcomes),
        "category": group_means([row["category"] for row in rows], outcomes),
        "sub-category": group_means([f"{row['category']}/{row['sub-category']}" for row in rows], outcomes),
    }


def _plain(reply: str) -> str:
    return reply.strip().replace("\n", "")


def _outcome(row: Row, letter: str | None, cause: str, rules: Rules) -> Outcome:
    if letter is None:
        return Outcome(WRONG, detail={"remark": UNREAD}) if rules == "strict" else Outcome(None, cause)
    right = row[f"choice_{letter.lower()}"] == row["answer_gt"]
    return Outcome(RIGHT if right else WRONG, detail={"letter": letter})
