"""Full-Duplex-Bench v2: means of what a judge says about calls with a speaking examiner.

Source: arXiv 2510.07838 and its code (docs/evaluation.md). The calls themselves need the examiner and a judge that
hears both channels (Gemini; the code's default is 2.5 Pro, its readme says Flash), so that only the means are here.
"""

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Final, NamedTuple

BIN: Final = 15.0  # seconds
UNTIL: Final = 120.0  # seconds


class Event(NamedTuple):
    """A reply of the model: its time in seconds, and two scores 1-5."""

    start: float
    end: float
    turn_taking: float
    instruction_following: float


class Dialogue(NamedTuple):
    """The replies of a call, and the score 1-5 of its task."""

    events: Sequence[Event]
    task: float


class Means(NamedTuple):
    """Mean scores of replies; nan where there are none."""

    turn_taking: float
    instruction_following: float


class Examined(NamedTuple):
    """Means over all replies, means over calls of the means of their replies, and the mean score of the tasks."""

    events: Means
    files: Means
    task: float


def examined(dialogues: Sequence[Dialogue]) -> Examined:
    """Returns the means of calls. A call without replies counts only for its task.

    Raises:
      ValueError: there are no calls.
    """
    if not dialogues:
        raise ValueError("means of no calls")
    of_files = [_means(dialogue.events) for dialogue in dialogues if dialogue.events]
    files = Means(*(fmean(values) for values in zip(*of_files, strict=True))) if of_files else _means(())
    events = _means([event for dialogue in dialogues for event in dialogue.events])
    return Examined(events, files, fmean(dialogue.task for dialogue in dialogues))


def over_time(dialogues: Sequence[Dialogue]) -> list[Means]:
    """Returns the means in the eight bins of 15 s up to 120 s; a reply counts by the time it has in a bin."""
    events = [event for dialogue in dialogues for event in dialogue.events]
    starts = [BIN * i for i in range(round(UNTIL / BIN))]
    return [_means(events, lambda event, s=start: min(event.end, s + BIN) - max(event.start, s)) for start in starts]


def _means(events: Sequence[Event], weight: Callable[[Event], float] = lambda event: 1.0) -> Means:
    weighted = [(event, weight(event)) for event in events if weight(event) > 0]
    if not weighted:
        return Means(math.nan, math.nan)
    events, weights = zip(*weighted, strict=True)
    return Means(
        fmean([event.turn_taking for event in events], weights),
        fmean([event.instruction_following for event in events], weights),
    )
