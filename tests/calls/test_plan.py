"""Calls with all events: what holds in every one of them, and how often things happen."""

from collections import Counter

import numpy as np
import pytest
from spoken_dialogues import EXTRAS, dialogue, exchange

from data_pipelines.duplex.channel import ChannelConfig
from data_pipelines.duplex.dialogue import Dialogue, Reply
from data_pipelines.duplex.events import EventsConfig, Quiet
from data_pipelines.duplex.make import CallsConfig, make_call
from data_pipelines.duplex.plan import Planner
from data_pipelines.duplex.timeline import Timeline
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, EventKind

CUTS = (EventKind.INTERRUPTION, EventKind.STOP, EventKind.RESUMED)
MANY = [exchange(answered=answered) for answered in (3.0, 1.4, 2.6, 1.2)]


def lines(count: int, delay: int = 2) -> list[Timeline]:
    found = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        planner = Planner(EventsConfig(), delay, (60, 80), rng)
        line = planner.plan(Dialogue("a", tuple(MANY), extras=EXTRAS), greeted=seed % 5 == 0)
        assert line is not None
        found.append(line)
    return found


@pytest.mark.parametrize("delay", [0, 1, 2])
def test_turns_take_slots_in_order_and_are_whole_or_cut_by_an_event(delay: int) -> None:
    for line in lines(60, delay):
        free = 0
        for number, turn in enumerate(line.turns):
            assert free <= turn.opening < turn.closing < line.slots
            free = turn.closing + 1
            groups = turn.closing - turn.audible
            assert groups == max(0, turn.closing - turn.opening - 1 - delay)
            cutting = [event for event in line.events if event.kind in CUTS and event.turn == number]
            assert len(cutting) == turn.cut and (turn.cut or groups == turn.reply.groups)
        assert max(sound.end for sound in line.sounds) <= line.slots * SLOT
        assert all(0 <= event.onset <= event.end <= line.slots * SLOT for event in line.events)
        assert [e.onset for e in line.events] == sorted(e.onset for e in line.events)


def test_the_assistant_speaks_alone_unless_an_event_says_otherwise() -> None:
    """Whatever the user says over a turn is an interruption, a backchannel or an early start of less than 0.6 s."""
    for line in lines(60):
        over = [e for e in line.events if e.kind in (*CUTS, EventKind.BACKCHANNEL)]
        known = {event.onset for event in over} | {event.end for event in over}
        for turn in line.turns:
            for sound in line.sounds:
                inside = sound.source == "user" and turn.onset <= sound.onset < turn.spoken
                assert not inside or sound.onset in known or turn.spoken - sound.onset < 0.6 * RATE


def test_events_happen_as_often_as_the_config_says() -> None:
    """Within five standard deviations of the share of its places."""
    many, counts = lines(250), Counter[EventKind]()
    for line in many:
        counts.update(event.kind for event in line.events)
    questions = sum(counts[kind] for kind in (EventKind.RESPONSE_GAP,))

    def near(count: int, places: int, share: float) -> bool:
        return abs(count - places * share) < 5 * np.sqrt(places * share * (1 - share))

    assert near(counts[EventKind.RESUMED], questions, 0.05 * (1 - 0.12))
    # Questions that interrupt are asked at once.
    calm = questions - counts[EventKind.INTERRUPTION]
    assert near(counts[EventKind.PAUSE], calm, 0.35 * (1 - 0.12) * (1 - 0.05))


def test_a_call_is_decided_by_its_seed_and_its_id() -> None:
    config = CallsConfig(seed=3, events=EventsConfig(quiet=Quiet(0.0)))
    one, again = (make_call(Dialogue("a", tuple(MANY), extras=EXTRAS), config) for _ in range(2))
    assert one is not None and again is not None
    assert one.line.events == again.line.events and one.system == again.system
    np.testing.assert_array_equal(one.user, again.user)
    np.testing.assert_array_equal(one.assistant, again.assistant)
    others = [
        make_call(Dialogue("b", tuple(MANY), extras=EXTRAS), config),
        make_call(Dialogue("a", tuple(MANY), extras=EXTRAS), CallsConfig(4, events=config.events)),
    ]
    for other in others:
        assert other is not None and other.line.events != one.line.events
    quiet = CallsConfig(3, events=config.events, channel=ChannelConfig(level=(-40.0, -40.0)))
    softer = make_call(Dialogue("a", tuple(MANY), extras=EXTRAS), quiet)
    assert softer is not None and softer.line.events == one.line.events  # the channel changes no event


def test_a_dialogue_that_does_not_fit_has_no_call() -> None:
    long = exchange(answered=30.0)
    assert make_call(dialogue(exchanges=[long]), CallsConfig(events=EventsConfig(quiet=Quiet(0.0)))) is None


def test_groups_and_words_of_a_reply() -> None:
    wave = np.zeros(3 * SLOT, np.float32)
    wave[: SLOT + 1600] = 0.1
    assert (Reply("a", wave).groups, Reply("a", wave).spoken) == (3, SLOT + 1600)
    assert Reply("a", wave[: 2 * SLOT + 700]).groups == 3  # of which the last is not full
