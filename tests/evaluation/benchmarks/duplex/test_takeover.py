"""Full-Duplex-Bench v1 on words and segments of known times."""

import math

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks.duplex.segments import Segment, Word
from fac_jax.evaluation.benchmarks.duplex.takeover import (
    BackchannelInput,
    backchannel_divergence,
    backchannels,
    interruption,
    smooth_turn,
    takeover,
)


def words(count: int, start: float, step: float = 0.3) -> list[Word]:
    """So many words of `step` seconds without pauses."""
    return [Word("w", start + i * step, start + (i + 1) * step) for i in range(count)]


def test_few_words_in_a_short_time_do_not_take_the_turn() -> None:
    assert not takeover([]) and not takeover(words(3, 2.0))
    assert takeover(words(4, 2.0, 0.1)), "more than three words"
    assert takeover([Word("well", 2.0, 3.0)]), "a whole second"


def test_latency_is_from_the_end_of_the_turn_and_only_of_takeovers() -> None:
    assert smooth_turn(words(4, 5.5), 5.0) == (True, pytest.approx(0.5))
    assert smooth_turn(words(4, 4.5), 5.0) == (True, 0.0)
    assert smooth_turn(words(1, 5.5), 5.0) == (False, None)


def test_what_is_said_before_the_end_of_an_interruption_is_cut_away() -> None:
    before = words(10, 0.0)  # to 3.0 s
    assert interruption(before, 3.0) == (False, None)
    assert interruption(before + words(4, 4.0), 3.2) == (True, pytest.approx(0.8))
    assert interruption(before + words(4, 4.0), 2.8).latency == 0, "a word across the cut goes on after it"


def test_the_last_segment_decides_unless_one_is_longer_than_three_seconds() -> None:
    mm, sentence, speech = Segment(1.0, 1.4), Segment(2.0, 3.2), Segment(5.0, 8.5)
    some = [Word("mm", 1.0, 1.4), *words(4, 2.0), *words(11, 5.0)]

    def scored(*segments: Segment) -> tuple:
        return backchannels([BackchannelInput(segments, some, 10.0)])[0]

    assert scored() == (False, (), 0.0)
    assert scored(mm) == (False, (mm,), 0.1)
    assert scored(mm, sentence) == (True, (mm, sentence), 0.2)
    assert scored(sentence, Segment(4.0, 4.4)) == (False, (sentence, Segment(4.0, 4.4)), 0.2), "the last decides"
    assert scored(mm, speech, Segment(9.0, 9.3)) == (True, (mm,), 0.1)
    assert backchannels([BackchannelInput([mm], words(3, 1.0, 0.12), 10.0)])[0].taken, "three words"


def test_officially_a_row_without_a_transcript_takes_the_outcome_of_the_row_before() -> None:
    taken = BackchannelInput([Segment(1.0, 5.0)], words(9, 1.0), 10.0)
    bare = BackchannelInput([Segment(1.0, 1.4)], None, 10.0)
    assert [one.taken for one in backchannels([bare, taken, bare])] == [None, True, True]
    assert [one.taken for one in backchannels([bare, taken, bare], "strict")] == [False, True, False]


def test_divergence_of_times() -> None:
    human = np.zeros(50)
    human[10:13] = 1.0  # of 10 s, about 2.0 to 2.6 s
    near = backchannel_divergence([Segment(2.1, 2.5)], 10.0, human)
    far = backchannel_divergence([Segment(8.0, 8.3)], 10.0, human)
    assert 0 <= near < 0.3 and far == pytest.approx(math.sqrt(math.log(2)), abs=1e-3)
    assert backchannel_divergence([], 10.0, human) == 1
    assert backchannel_divergence([Segment(9.9, 10.0)], 10.0, human) > near, "the end of the file is in a bin"
