"""Judges that say yes or no: SD-QA of VoiceBench by majority, and Kimi-Audio-Evalkit's reading (docs/evaluation.md)."""

import collections
from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from fac_jax.evaluation.benchmarks.base import Outcome, Rules
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG, Summary, mean, mean_points, summarize

Verdict: TypeAlias = Literal["correct", "wrong", "invalid"]
TIE: Final = "hash-order tie"
INVALID: Final = "invalid"
_YES: Final = "yes"


def majority(replies: Sequence[str]) -> bool | None:
    """Returns whether most replies of a judge are "yes"; None if that is left to chance, in a tie of "yes" with others.

    Replies are compared in lower case and as a whole, so that "yes." is no "yes". VoiceBench's quirk: of the replies
    that tie, the first in the order of a Python set wins, which string hashing decides anew in every run.
    """
    votes = collections.Counter(reply.lower() for reply in replies)
    leaders = [vote for vote, count in votes.items() if count == max(votes.values())]
    if _YES not in leaders:
        return False
    if len(leaders) == 1:
        return True
    # The empty text hashes to 0 in every run: in a set it always comes before a "yes" that was added later.
    return False if "" in leaders[: leaders.index(_YES)] else None


def yes_no(reply: str) -> Verdict:
    """Returns what the last line of a judge's reply says.

    It is correct if it contains "yes", else wrong if it contains "no", else invalid; inside words too, so that
    "unknown" is wrong.
    """
    line = reply.strip().split("\n")[-1].strip().lower()
    if "yes" in line:
        return "correct"
    return "wrong" if "no" in line else "invalid"


def score_votes(replies: Sequence[str], *, rules: Rules) -> Outcome:
    """Scores one row of SD-QA by majority: 100 points or 0.

    A tie of "yes" with another reply is decided by Python's string hashing in VoiceBench: under "official" the row is
    left out and reported, under "strict" it is wrong.
    """
    right = majority(replies)
    if right is not None:
        return Outcome(RIGHT if right else WRONG)
    return Outcome(WRONG, detail={"remark": TIE}) if rules == "strict" else Outcome(None, TIE)


def score_yes_no(reply: str, *, rules: Rules) -> Outcome:
    """Scores one row by one reply: 100 points or 0.

    A reply that says neither is left out under "evalkit" and wrong under "strict".
    """
    verdict = yes_no(reply)
    if verdict == "invalid":
        return Outcome(WRONG, detail={"remark": INVALID}) if rules == "strict" else Outcome(None, INVALID)
    return Outcome(RIGHT if verdict == "correct" else WRONG)


def summarize_yes_no(outcomes: Sequence[Outcome], *, rules: Rules) -> Summary:
    """Returns `acc`, the percentage of right rows of the scored ones; Kimi-Audio-Evalkit rounds it to 2 decimals."""
    return summarize(outcomes, {"acc": mean_points(outcomes, 2 if rules == "evalkit" else None)})


def summarize_sd_qa(votes: Sequence[Outcome], pedant: Sequence[Outcome]) -> Summary:
    """Returns the three values of SD-QA in percent; the counts are those of the votes.

    Args:
      votes: outcomes of `score_votes`.
      pedant: outcomes of `pedant.score`.

    Returns:
      gpt: of the votes. panda: of PEDANT. mean: of both, the form in which the leaderboard prints SD-QA.
    """
    gpt, panda = mean_points(votes), mean_points(pedant)
    both = None if gpt is None or panda is None else mean([gpt, panda])
    return summarize(votes, {"gpt": gpt, "panda": panda, "mean": both})
