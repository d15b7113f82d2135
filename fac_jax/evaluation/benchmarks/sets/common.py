"""What the benchmarks of all families share: scoring row by row, and what a judge has said."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, RowRefusedError, Rules
from fac_jax.evaluation.benchmarks.benchmark import Answered, Ask, Scorer, Scores
from fac_jax.evaluation.benchmarks.measure import Measure, mean

REFUSED: Final = "refused"
NO_JUDGE: Final = "no judge"
NO_RECOGNISER: Final = "no recogniser"


def refusable(score: Callable[[], Outcome]) -> Outcome:
    """Returns the outcome of a row; "refused", with the reason, for a row at which the official code stops."""
    try:
        return score()
    except RowRefusedError as error:
        return Outcome(None, REFUSED, {"why": str(error)})


def each(answers: Sequence[Answered], score: Callable[[Answered], Outcome]) -> list[Outcome]:
    """Returns the outcome of every answer, as `refusable` does."""
    return [refusable(lambda answer=answer: score(answer)) for answer in answers]


def by_rows(
    score: Callable[[Answered, Assets], Outcome],
    values: Callable[[Sequence[Answered], Sequence[Outcome]], Mapping[str, float]] = lambda answers, outcomes: {},
) -> Callable[[Sequence[Answered], Assets], Scores]:
    """Returns the scorer of a benchmark whose value is the mean of the points of its rows."""

    def scored(answers: Sequence[Answered], assets: Assets) -> Scores:
        outcomes = each(answers, lambda answer: score(answer, assets))
        return Scores(outcomes, mean_measure(answers, outcomes), values(answers, outcomes))

    return scored


def mean_measure(answers: Sequence[Answered], outcomes: Sequence[Outcome]) -> Measure:
    """Returns the mean of the points of the scored rows."""
    return mean([answer.id for answer in answers], [outcome.points for outcome in outcomes])


def judged(
    asks: Callable[[Answered], Ask],
    read: Callable[[Sequence[str]], Outcome],
    values: Callable[[Sequence[Answered], Sequence[Outcome]], Mapping[str, float]] = lambda answers, outcomes: {},
) -> Scorer:
    """Returns a scorer that reads a judge's replies, whose value is the mean of the points of the rows.

    Args:
      asks: what the judge is asked about an answer.
      read: outcome of a row from the judge's replies.
      values: further values.
    """

    def score(answer: Answered, assets: Assets) -> Outcome:
        return judgement(answer, read)

    return Scorer(by_rows(score, values), asks, readable(read))


def judgement(answer: Answered, read: Callable[[Sequence[str]], Outcome]) -> Outcome:
    """Returns what a judge's replies say of an answer; a row that no judge has judged is not scored."""
    return read(answer.judged) if answer.judged is not None else Outcome(None, answer.unjudged or NO_JUDGE)


def readable(read: Callable[[Sequence[str]], Outcome]) -> Callable[[Sequence[str]], bool]:
    """Returns what tells whether a judge's replies give points; a judge whose replies give none is asked again."""
    return lambda replies: refusable(lambda: read(replies)).points is not None


def under(make: Callable[[Rules], Scorer], *rules: Rules) -> dict[Rules, Scorer]:
    """Returns the scorer of each rule set; the first is the default of a benchmark."""
    return {one: make(one) for one in rules}


def text(answer: Answered) -> str:
    """Returns the text of the reply, "" if there is none."""
    return answer.reply or ""
