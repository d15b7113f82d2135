"""Success of turns: a definition for the paper's rate of table 7, and the rules that NVIDIA published in 2026.

Sources: arXiv 2512.20156 prints a share of "correct turn taking" and does not define it; the definition here is ours,
and `DEFINITION` belongs beside the number. The other rules are those of NVIDIA's script for turn taking and barge-in
(docs/evaluation.md).
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from fac_jax.evaluation.benchmarks.duplex.segments import Segment, Word, merge, words_within
from fac_jax.evaluation.benchmarks.duplex.summary import Latency, Share, latency, share_of

DEFINITION: Final = (
    "our definition: the model's first audible speech begins not before the user's end - 0.2 s and not later than 3 s "
    "after it, and lasts at least 1 s or has more than 3 words; pauses up to 0.5 s do not end it"
)
EARLIEST: Final = -0.2  # seconds after the user's end
LATEST: Final = 3.0
LONG: Final = 1.0  # seconds
FEW: Final = 3  # words
PAUSE: Final = 0.5  # seconds within the model's first speech

NVIDIA_EARLIEST: Final = -1.0
NVIDIA_LATEST: Final = 1.5
NVIDIA_STOP: Final = 1.5

Failure: TypeAlias = Literal["silent", "early", "late", "short"]


class Answered(NamedTuple):
    """How a model answered a question: why not (None for a success), and seconds from the user's end to its speech."""

    failure: Failure | None
    latency: float | None


class Turns(NamedTuple):
    """Turn taking of calls: shares of the model's turns that are right and of the user's that are served."""

    precision: Share
    recall: Share
    latency: Latency


class BargeIns(NamedTuple):
    """Barge-ins of calls: the share after which the model stops in time, and the latencies of these."""

    success: Share
    latency: Latency


def answered(model: Iterable[Segment], words: Iterable[Word], user_end: float) -> Answered:
    """Scores one question that is followed by silence, by `DEFINITION`.

    Args:
      model: the model's segments over the whole call.
      words: the model's words.
      user_end: when the question ends.
    """
    speech = merge(model, PAUSE)
    if not speech:
        return Answered("silent", None)
    first = speech[0]
    after = first.start - user_end
    if after < EARLIEST:
        return Answered("early", after)
    if after > LATEST:
        return Answered("late", after)
    enough = first.seconds >= LONG or len(words_within(words, first)) > FEW
    return Answered(None if enough else "short", after)


def turn_taking(calls: Sequence[tuple[Sequence[Segment], Sequence[Segment]]]) -> Turns:
    """Scores turn taking over calls by NVIDIA's rules, all segments of all calls together.

    A model's segment is right if it starts from 1 s before to 1.5 s after the end of a user's segment, and not before
    that segment starts. A user's segment is served if a model's segment starts in the same window about its end. The
    latency of a right one is that to the nearest such end, 0 for an earlier start.

    Args:
      calls: segments of the user and of the model in every call.
    """
    latencies: list[float] = []
    starts = ends = served = 0
    for user, model in calls:
        starts, ends = starts + len(model), ends + len(user)
        for answer in model:
            gaps = [answer.start - turn.end for turn in user if turn.start <= answer.start]
            near = [max(0.0, gap) for gap in gaps if _in_window(gap)]
            latencies += [min(near)] if near else []
        served += sum(any(_in_window(answer.start - turn.end) for answer in model) for turn in user)
    return Turns(share_of(len(latencies), starts), share_of(served, ends), latency(latencies))


def barge_ins(calls: Sequence[tuple[Sequence[Segment], Sequence[Segment]]]) -> BargeIns:
    """Scores barge-ins over calls by NVIDIA's rules.

    A barge-in is a user's segment that starts within a model's; it succeeds if the model's ends within 1.5 s of it.

    Args:
      calls: segments of the user and of the model in every call.
    """
    stops = [
        speech.end - turn.start
        for user, model in calls
        for turn in user
        for speech in model
        if speech.start < turn.start < speech.end
    ]
    in_time = [stop for stop in stops if stop <= NVIDIA_STOP]
    return BargeIns(share_of(len(in_time), len(stops)), latency(in_time))


def _in_window(gap: float) -> bool:
    return NVIDIA_EARLIEST <= gap <= NVIDIA_LATEST
