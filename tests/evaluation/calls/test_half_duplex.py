"""A half-duplex model behind a detector: when its turns begin, and what stops them."""

import pytest

from fac_jax.audio.mel import RATE
from fac_jax.evaluation.benchmarks.duplex.segments import Segment
from fac_jax.evaluation.calls.base import Reply
from fac_jax.evaluation.calls.half_duplex import LONGEST, PAD, Said, UserTurn, take_turns, user_turns

CALL = 20 * RATE


def replies(speech: list[Segment], silence: float, seconds: float = 3.0) -> list[tuple[float, float]]:
    turns = user_turns(speech, silence)
    heard = take_turns(turns, silence, CALL, lambda turn: Said(str(turn.start), round(seconds * RATE)))
    return [(reply.start / RATE, reply.end / RATE) for reply in heard]


def test_a_pause_ends_the_turn_or_does_not() -> None:
    speech = [Segment(1.0, 2.0), Segment(2.6, 3.0)]
    assert replies(speech, 0.7) == [(3.7, 6.7)]
    assert replies(speech, 0.5) == [(2.5, 2.9), (3.5, 6.5)]  # the last word stops what began in the pause


def test_what_is_short_stops_nothing_and_is_not_answered() -> None:
    assert replies([Segment(1.0, 2.0), Segment(4.0, 4.25)], 0.5) == [(2.5, 5.5)]
    assert replies([Segment(1.0, 2.0), Segment(4.0, 4.3)], 0.5) == [(2.5, 4.3), (4.8, 7.8)]
    assert replies([Segment(1.0, 1.2)], 0.5) == [(1.7, 4.7)]  # where nobody talks it is a turn


def test_a_reply_lies_within_the_call_and_has_sound() -> None:
    assert replies([Segment(15.0, 18.0)], 0.5) == [(18.5, 20.0)]
    assert replies([Segment(15.0, 19.5)], 0.5) == []
    assert take_turns([UserTurn(0, RATE, None)], 0.5, CALL, lambda turn: Said("", 0)) == []
    assert take_turns([UserTurn(0, RATE, None)], 0.5, CALL, lambda turn: Said("a", 5))[0] == Reply(24000, 24005, "a")


@pytest.mark.parametrize(
    ("start", "end", "clip"),
    [(RATE, 2 * RATE, (RATE - PAD, 2 * RATE + PAD)), (0, CALL, (CALL - LONGEST, CALL)), (5, 10, (0, 10 + PAD))],
)
def test_the_model_hears_a_little_more_than_the_detector(start: int, end: int, clip: tuple[int, int]) -> None:
    assert UserTurn(start, end, None).clip(CALL) == clip
