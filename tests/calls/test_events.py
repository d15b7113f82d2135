"""What every event does to the assistant's turns: the labels of docs/duplex.md."""

import dataclasses

import numpy as np
import pytest
from spoken_dialogues import EXTRAS, dialogue, exchange

from data_pipelines.duplex.dialogue import Dialogue, Extras
from data_pipelines.duplex.events import (
    AssistantBackchannel,
    Backchannel,
    Burst,
    EventsConfig,
    Greeting,
    Interruption,
    LogNormal,
    NothingToAnswer,
    Pause,
    Quiet,
    ResponseGap,
    Resumed,
    Unfinished,
    UserGap,
    without,
)
from data_pipelines.duplex.make import CallsConfig, make_call
from data_pipelines.duplex.plan import Planner
from data_pipelines.duplex.timeline import Timeline
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, Event, EventKind
from fac_jax.text.prompts import GREET
from fac_jax.types import InputError

SEEDS = range(12)
LONG = exchange("count to nine", 0.9, answered=4.0)


def planned(events: EventsConfig, seed: int, dialogue: Dialogue, delay: int = 2, slots: int = 90) -> Timeline:
    line = Planner(events, delay, (slots, slots), np.random.default_rng(seed)).plan(dialogue, greeted=False)
    assert line is not None
    return line


def events_of(line: Timeline, kind: EventKind) -> list[Event]:
    return [event for event in line.events if event.kind == kind]


def only(line: Timeline, kind: EventKind) -> Event:
    (event,) = events_of(line, kind)
    return event


def last_word(line: Timeline) -> Event:
    return max(events_of(line, EventKind.SPEECH), key=lambda event: event.end)


def slots_of(line: Timeline) -> list[tuple[int, int, bool]]:
    return [(turn.opening, turn.closing, turn.cut) for turn in line.turns]


@pytest.mark.parametrize("gap", range(3))
@pytest.mark.parametrize("delay", range(3))
def test_response_gap(gap: int, delay: int) -> None:
    """`audio_bos` lies k slots after the slot after the user's end; the first heard group 1 + delay slots later."""
    shares = tuple(float(k == gap) for k in range(3))
    for seed in SEEDS:
        line = planned(without(response_gap=ResponseGap(shares)), seed, dialogue(), delay)
        (turn,) = line.turns
        ended = (last_word(line).end - 1) // SLOT
        assert turn.opening == ended + 1 + gap and turn.audible == ended + 2 + gap + delay and not turn.cut
        assert turn.closing == turn.audible + turn.reply.groups
        event = only(line, EventKind.RESPONSE_GAP)
        assert (event.onset, event.end, event.turn) == (last_word(line).end, turn.audible * SLOT, 0)


def test_the_user_waits_or_starts_early_and_the_turn_ends_as_written() -> None:
    for early in (0.0, 1.0):
        gap = UserGap(LogNormal(0.6, 0.6, 0.1, 3.0), early)
        for seed in SEEDS:
            line = planned(without(user_gap=gap), seed, dialogue(exchanges=[exchange(), exchange()]))
            first, second = line.turns
            assert not first.cut and first.closing == first.audible + first.reply.groups
            started = max(event.onset for event in events_of(line, EventKind.SPEECH))
            offset = (started - first.spoken) / RATE
            assert (-0.5 <= offset <= -0.1) if early else (0.1 <= offset <= 3.0)
            assert second.opening > first.closing
            event = only(line, EventKind.USER_GAP)
            assert {event.onset, event.end} == {first.spoken, started} and event.turn == 0


def test_pause_is_idle() -> None:
    for seed in SEEDS:
        line = planned(without(pause=Pause(1.0)), seed, dialogue())
        pause, spoken = only(line, EventKind.PAUSE), events_of(line, EventKind.SPEECH)
        assert 0.2 <= (pause.end - pause.onset) / RATE <= 2.0
        assert [event.text for event in spoken] == ["what is two plus", "one"]
        assert (pause.onset, pause.end) == (spoken[0].end, spoken[1].onset)
        (turn,) = line.turns  # none opens before the question is complete
        assert turn.opening * SLOT >= spoken[1].end and pause.turn == 0 == spoken[0].turn


def test_unfinished_question_that_goes_on() -> None:
    for seed in SEEDS:
        line = planned(without(unfinished=Unfinished(1.0, silent=0.0)), seed, dialogue())
        event = only(line, EventKind.UNFINISHED)
        assert 1.0 <= (event.end - event.onset) / RATE <= 3.0
        (turn,) = line.turns
        assert turn.opening * SLOT >= last_word(line).end > event.end and event.turn == 0


def test_unfinished_question_that_does_not_go_on_is_asked_back_after_three_seconds() -> None:
    line = planned(without(unfinished=Unfinished(1.0, silent=1.0)), 0, dialogue())
    event, (turn,) = only(line, EventKind.UNFINISHED), line.turns
    assert event.end - event.onset == 3 * RATE
    assert turn.opening == event.end // SLOT and turn.reply is EXTRAS.asked_back[0] and event.turn == 0
    extras = dataclasses.replace(EXTRAS, asked_back=())
    line = planned(without(unfinished=Unfinished(1.0, silent=1.0)), 0, dialogue(extras=extras))
    assert not line.turns and only(line, EventKind.UNFINISHED).turn is None


def test_resumed_in_the_grace_period() -> None:
    """The turn is taken back one or two slots after the user goes on, and the whole reply comes later."""
    for seed in SEEDS:
        line = planned(without(resumed=Resumed(1.0)), seed, dialogue())
        event, (taken_back, turn) = only(line, EventKind.RESUMED), line.turns
        assert event.turn == 0 and taken_back.cut and not turn.cut
        resumed = event.end // SLOT
        assert taken_back.opening <= resumed < taken_back.opening + 3  # before it could be heard
        assert taken_back.closing - resumed in (1, 2)
        assert turn.opening * SLOT >= last_word(line).end and turn.reply.groups == turn.closing - turn.audible
    # Without a delay the turn would be heard before half a second is over: the question is asked as any other.
    assert not events_of(planned(without(resumed=Resumed(1.0)), 0, dialogue(), delay=0), EventKind.RESUMED)


@pytest.mark.parametrize("slots", [2, 3, 4])
def test_interruption_by_a_question(slots: int) -> None:
    drawn = Interruption(1.0, command=0.0, slots=(slots,), shares=(1.0,))
    two = dialogue(exchanges=[LONG, exchange(answered=1.0)])
    for seed in SEEDS:
        line = planned(without(interruption=drawn), seed, two)
        event, (cut, answer) = only(line, EventKind.INTERRUPTION), line.turns
        assert cut.cut and cut.closing == event.slot + slots and event.turn == 0
        whole = cut.onset + cut.reply.spoken
        assert cut.onset + 0.6 * RATE <= event.onset <= whole - 0.5 * RATE
        assert event.text == "what is two plus one" and not answer.cut
        assert answer.opening == (event.end - 1) // SLOT + 1
        (noted,) = [e for e in events_of(line, EventKind.SPEECH) if e.onset == event.onset]
        assert (noted.end, noted.turn) == (event.end, 1)


def test_interruption_stops_half_a_second_after_its_onset_on_average() -> None:
    stops = []
    for seed in range(60):
        line = planned(without(interruption=Interruption(1.0, command=1.0)), seed, dialogue(exchanges=[LONG]))
        stops.append(line.turns[0].closing * SLOT - only(line, EventKind.STOP).onset)
    assert abs(np.mean(stops) / RATE - 0.5) < 0.06


def test_interruption_by_a_command() -> None:
    for answered in (0.0, 1.0):
        drawn = Interruption(1.0, command=1.0, answered=answered)
        for seed in SEEDS:
            line = planned(without(interruption=drawn), seed, dialogue(exchanges=[LONG]))
            event = only(line, EventKind.STOP)
            assert line.turns[0].cut and line.turns[0].closing - event.slot in (2, 3, 4) and event.text == "stop"
            assert [turn.reply.text for turn in line.turns[1:]] == ["okay"] * bool(answered)


def test_side_question_and_the_rest_of_the_dialogue() -> None:
    side = exchange("who is there", answered=1.0)
    drawn = Interruption(1.0, command=0.0)
    texts = []
    for returns in (0.0, 1.0):
        one = dataclasses.replace(dialogue(exchanges=[LONG, exchange(answered=1.2)]), side=(side,))
        line = planned(without(interruption=dataclasses.replace(drawn, returns=returns)), 1, one)
        texts.append([event.text for event in events_of(line, EventKind.SPEECH)])
    assert texts == [["count to nine", "who is there"], ["count to nine", "who is there", "what is two plus one"]]


def test_what_does_not_fit_cuts_nothing() -> None:
    """A question that would end behind the call interrupts no turn."""
    two = dialogue(exchanges=[LONG, exchange("what is two plus one", 6.0)])
    line = planned(without(interruption=Interruption(1.0, command=0.0)), 0, two, slots=40)
    assert len(line.turns) == 1 and not line.turns[0].cut and not events_of(line, EventKind.INTERRUPTION)


OVERLAYS = {
    EventKind.BACKCHANNEL: ("backchannel", Backchannel(1.0)),
    EventKind.NOISE: ("noise", Burst(1.0, (0.2, 2.0), (-10.0, 0.0))),
    EventKind.SIDE_TALK: ("side_talk", Burst(1.0, (1.0, 3.0), (-20.0, -6.0))),
}


@pytest.mark.parametrize("kind", OVERLAYS)
@pytest.mark.parametrize("idle", [0.0, 1.0])
def test_overlays_change_no_turn(kind: EventKind, idle: float) -> None:
    name, drawn = OVERLAYS[kind]
    for seed in SEEDS:
        plain = planned(without(), seed, dialogue(exchanges=[LONG]))
        line = planned(without(**{name: dataclasses.replace(drawn, idle=idle)}), seed, dialogue(exchanges=[LONG]))
        assert slots_of(line) == slots_of(plain)
        event, (turn,) = only(line, kind), line.turns
        assert event.turn == (None if idle else 0)
        assert (event.onset >= turn.closing * SLOT) if idle else (turn.onset <= event.onset < event.end <= turn.spoken)
        sound = next(sound for sound in line.sounds if sound.onset == event.onset)
        assert drawn.decibels[0] <= sound.decibels <= drawn.decibels[1] and sound.end == event.end
        assert sound.source == ("user" if kind == EventKind.BACKCHANNEL else "other")


def test_backchannels_are_short_and_turns_long() -> None:
    short = dialogue(exchanges=[exchange(answered=1.9)])
    assert not events_of(planned(without(backchannel=Backchannel(1.0)), 0, short), EventKind.BACKCHANNEL)
    slow = dataclasses.replace(EXTRAS, backchannels=tuple(EXTRAS.side_talk))
    line = planned(without(backchannel=Backchannel(1.0)), 0, dialogue(exchanges=[LONG], extras=slow))
    assert not events_of(line, EventKind.BACKCHANNEL)


def test_assistant_backchannel_is_a_whole_short_turn_in_a_pause() -> None:
    drawn = without(pause=Pause(1.0, LogNormal(0.9, 0.1, 0.8, 1.2)), assistant_backchannel=AssistantBackchannel(1.0))
    long = dialogue(exchanges=[exchange(seconds=5.0)])
    for seed in SEEDS:
        line = planned(drawn, seed, long)
        event, (word, turn) = only(line, EventKind.ASSISTANT_BACKCHANNEL), line.turns
        pause = only(line, EventKind.PAUSE)
        assert word.reply.text == "right" and not word.cut and word.audible == (pause.onset - 1) // SLOT + 1
        assert event.turn == 0 and pause.turn == 1 and turn.reply.text == "one two"
    short = planned(drawn, 0, dialogue(exchanges=[exchange(seconds=2.0)]))
    assert not events_of(short, EventKind.ASSISTANT_BACKCHANNEL)


def test_greeting_is_named_in_the_system_prompt() -> None:
    config = CallsConfig(events=without(greeting=Greeting(1.0)))
    for name in "abcdef":
        made = make_call(dialogue(name), config)
        assert made is not None and made.system.endswith(GREET)
        first = made.line.turns[0]
        assert (
            first.opening in (0, 1, 2) and first.reply.text == "hello" and only(made.line, EventKind.GREETING).turn == 0
        )
    made = make_call(dialogue(), CallsConfig(events=without()))
    assert made is not None and GREET not in made.system


def test_nothing_to_answer_is_idle_or_one_word() -> None:
    for answered in (0.0, 1.0):
        line = planned(without(nothing_to_answer=NothingToAnswer(1.0, answered)), 0, dialogue())
        event = only(line, EventKind.NOTHING_TO_ANSWER)
        assert [turn.reply.text for turn in line.turns[1:]] == ["okay"] * bool(answered)
        assert event.turn == (1 if answered else None) and event.text == "thank you"


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_silence_and_noise_only(noise: float) -> None:
    made = make_call(dialogue(), CallsConfig(events=without(quiet=Quiet(1.0, 30.0, noise))))
    assert made is not None and made.line.slots == 150 and not made.line.turns
    (event,) = made.line.events
    assert event.kind == (EventKind.NOISE_ONLY if noise else EventKind.SILENCE) and event.end == 150 * SLOT
    assert made.user.any() == bool(noise) and not made.assistant.any()


def test_nothing_happens_without_its_piece() -> None:
    """A set without backchannels, commands or other voices has none of these events."""
    everything = EventsConfig(
        interruption=Interruption(1.0, command=1.0),
        backchannel=Backchannel(1.0),
        side_talk=Burst(1.0, (1.0, 4.0), (-20.0, -6.0)),
        greeting=Greeting(1.0),
        nothing_to_answer=NothingToAnswer(1.0),
    )
    bare = dialogue(exchanges=[LONG], extras=Extras())
    made = make_call(bare, CallsConfig(events=dataclasses.replace(everything, quiet=Quiet(0.0))))
    assert made is not None
    spoken = {EventKind.STOP, EventKind.BACKCHANNEL, EventKind.SIDE_TALK, EventKind.GREETING}
    assert not spoken & {event.kind for event in made.line.events}


def test_impossible_configs_are_refused() -> None:
    with pytest.raises(InputError, match="events.pause.probability is 2.*; events.noise.seconds is"):
        EventsConfig(pause=Pause(2.0), noise=Burst(0.1, (2.0, 1.0), (0.0, 0.0)))
    with pytest.raises(InputError, match="sum to 1"):
        EventsConfig(response_gap=ResponseGap((0.5, 0.1)))
