"""The clock of a live session."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from served import STEADY

from fac_jax.serving.live.slots import Pace, Slots

RATE = 1000  # Hz; a slot has 200 samples


class Talk:
    """A session whose time the test sets; samples are numbered from 1."""

    def __init__(self) -> None:
        self.slots = Slots(RATE, Pace())
        self.sent = 0

    def send(self, seconds: float, now: float) -> None:
        samples = round(seconds * RATE)
        self.slots.push(np.arange(self.sent + 1, self.sent + samples + 1, dtype=np.float32), now)
        self.sent += samples

    def heard(self, now: float) -> list[list[float]]:
        """First and last sample of each slot that is heard now."""
        found = []
        while (slot := self.slots.take(now)) is not None:
            assert len(slot) == 200
            found.append([slot[0], slot[-1]])
        return found


def test_the_clock_is_the_audio_of_the_client() -> None:
    talk = Talk()
    assert talk.heard(100.0) == [] and talk.slots.wake(100.0) == float("inf")
    for number in range(5):
        now = 100.0 + 0.2 * number
        talk.send(0.1, now)
        assert talk.heard(now) == []
        talk.send(0.1, now + 0.1)
        assert talk.heard(now + 0.1) == [[200 * number + 1, 200 * number + 200]]
    assert (talk.slots.heard, talk.slots.underruns, talk.slots.dropped_s) == (5, 0, 0.0)


def test_late_audio_is_silence_after_400_ms() -> None:
    talk = Talk()
    talk.send(0.25, 0.0)
    assert talk.heard(0.0) == [[1, 200]]
    assert talk.heard(0.39) == [] and talk.slots.wake(0.39) == pytest.approx(0.01)
    assert talk.heard(0.4) == [[201, 0], [0, 0]]  # what there was, and the clock has caught up
    assert talk.slots.underruns == 2
    assert talk.heard(0.59) == [] and talk.slots.wake(0.59) == pytest.approx(0.01)
    assert talk.heard(0.601) == [[0, 0]]
    talk.send(0.2, 0.7)
    assert talk.heard(0.7) == [[251, 450]]


def test_early_audio_waits_and_its_oldest_is_dropped() -> None:
    talk = Talk()
    talk.send(3.0, 0.0)
    assert talk.heard(0.0) == [[1, 200], [201, 400]]  # a slot may be early
    assert talk.slots.dropped_s == pytest.approx(1.6)
    assert talk.slots.wake(0.0) == pytest.approx(0.2)
    assert talk.heard(0.2) == [[2001, 2200]]
    assert talk.heard(1.0) == [[2201 + 200 * n, 2400 + 200 * n] for n in range(4)]
    assert talk.slots.wake(1.0) == pytest.approx(0.4)


def test_a_slow_clock_is_not_made_up_for_with_silence() -> None:
    talk = Talk()
    now = 0.0
    for _ in range(100):  # the client takes 220 ms for 200 ms
        talk.send(0.2, now)
        assert len(talk.heard(now)) == 1
        now += 0.22
    assert talk.slots.underruns == 0
    talk.heard(now + 0.4)
    assert talk.slots.underruns <= 3


@STEADY
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 2)), max_size=30))
def test_time_and_audio_are_accounted_for(sends: list[tuple[float, float]]) -> None:
    talk, now = Talk(), 0.0
    for wait, seconds in sends:
        now += wait
        talk.heard(now)
        talk.send(seconds, now)
        talk.heard(now)
        slots = talk.slots
        assert slots.heard * 0.2 <= now + 0.4 + 1e-6  # never ahead by more than the first slot and an early one
        real = (slots.heard - slots.underruns) * 200
        waiting = len(slots._waiting)
        assert waiting <= 1000
        assert real + round(slots.dropped_s * RATE) + waiting <= talk.sent + 1
