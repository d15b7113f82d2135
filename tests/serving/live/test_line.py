"""What a tick hears of a client that is in time, late, silent, or faster than the server."""

import numpy as np

from fac_jax.duplex.call import SLOT
from fac_jax.serving.live.line import JITTER_S, MOST, Line


def block(number: int) -> np.ndarray:
    return np.full(SLOT, number + 1, np.float32)


def heard(line: Line, now: float) -> int | None:
    """The number of the block that a tick hears, -1 for silence, None if the call does not run."""
    taken = line.take(now)
    return None if taken is None else int(taken[0]) - 1


def test_blocks_in_time_are_heard_in_order() -> None:
    line = Line()
    assert heard(line, 0.0) is None
    line.push(block(0), 0.1)
    assert heard(line, 0.1 + JITTER_S / 2) is None  # so that a later one may be late
    for number in range(5):
        assert heard(line, 0.3 + 0.2 * number) == number
        line.push(block(number + 1), 0.31 + 0.2 * number)
    assert line.late == 0


def test_a_late_block_is_silence_and_is_dropped() -> None:
    line = Line()
    line.push(block(0), 0.0)
    assert [heard(line, 0.2), heard(line, 0.4)] == [0, -1]
    line.push(block(1), 0.5)  # for the tick before
    line.push(block(2), 0.55)
    assert [heard(line, 0.6), line.late] == [2, 1]


def test_a_slower_client_is_heard_a_slot_later() -> None:
    line = Line()
    arrivals = [0.2003 * number for number in range(1000)]  # 1.5 ms a second
    for number, came in enumerate(arrivals):
        tick = JITTER_S + 0.2 * number
        if number and came > tick:
            break
        line.push(block(number), came)
        assert heard(line, tick) == number
    assert [heard(line, tick), line.late] == [-1, 1]
    for behind, came in enumerate(arrivals[number : number + 100]):
        line.push(block(number + behind), came)
        assert heard(line, tick + 0.2 * (behind + 1)) == number + behind
    assert line.late == 1


def test_a_client_that_falls_silent_is_paused_after_two_seconds_until_it_comes_again() -> None:
    for told in (False, True):  # whether the session says that audio is missing
        line = Line()
        line.push(block(0), 0.0)
        assert heard(line, 0.2) == 0
        taken = []
        for number in range(1, 15):
            if told:
                line.push(None, 0.2 * number)
            taken.append(heard(line, 0.2 + 0.2 * number))
        assert taken == [-1] * 10 + [None] * 4
        line.push(block(7), 3.2)
        assert heard(line, 3.2 + JITTER_S / 2) is None
        assert heard(line, 3.4) == 7


def test_a_faster_client_loses_its_oldest_block() -> None:
    line = Line()
    for number in range(MOST + 2):
        line.push(block(number), 0.0)
    assert heard(line, 0.2) == 2
