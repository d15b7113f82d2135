"""The turns of the engine's loop one by one, without its thread and with a clock of the test."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from talking import CONTEXT, SETTINGS, TEXTS, WAVES, Told, asks, request, said

from fac_jax.api import Model
from fac_jax.serving.engine.core import PROMPTS_FIRST, Core
from fac_jax.serving.engine.device import Device
from fac_jax.serving.engine.ears import Ears
from fac_jax.serving.engine.talks import URGENT_S, Made, Talk
from fac_jax.serving.engine.voices import Voices
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.talk import Audio, Began, Ended, TalkRequest

WORDY = said(*[asks(TEXTS[2])] * 10)  # a prompt of more than two pieces


class Bench:
    """A core that a test drives; `now` is its clock."""

    def __init__(self, model: Model, **settings: Any) -> None:
        self.model, self.now = model, 0.0
        config = dataclasses.replace(SETTINGS, **settings)
        self.ears = Ears(model, config.heard_bytes)
        self.device = Device(model.module, model.params, 4, CONTEXT, joint=True)
        self.voices = Voices(model.codec, 4, lambda _: None)
        self.core = Core(model, self.ears, self.voices, self.device, config, Metrics(), lambda: self.now)

    def ask(self, wanted: TalkRequest) -> tuple[Talk, Told]:
        told = Told(wanted)
        made = Made(self.model.config.group_size)
        talk = Talk(wanted, self.ears.heard(wanted.conversation), made, self.now, wanted.session, told.events.append)
        self.core.submit(talk)
        return talk, told

    def rest(self) -> None:
        """Takes turns until there is nothing to do."""
        while self.core.wait_s == 0:
            self.core.turn()


@pytest.fixture
def bench(talks: Model) -> Bench:
    return Bench(talks)


def test_who_finds_no_slot_waits_and_then_is_told(bench: Bench, talks: Model) -> None:
    wanted, most = request(said(asks(TEXTS[0])), limit=3), 4 + 7 * 4
    found = [bench.ask(wanted) for _ in range(4 + 2 * 4 - 1)]
    assert bench.core.room  # for one more talk
    found += [bench.ask(wanted)]
    assert not bench.core.room
    found += [bench.ask(wanted) for _ in range(most + 1 - len(found))]
    assert [told.end.reason for _, told in found if told.events] == ["full"]  # at once: the last
    bench.core.turn()
    bench.now = 5.1
    bench.core.turn()
    late = [told for _, told in found[:-1] if told.of(Ended) and told.end.reason == "full"]
    assert len(late) == most - 1  # one had begun
    assert all(told.events == [told.end] and told.end.reply is None for told in late)
    bench.rest()
    found[0][1].check(talks)
    assert bench.core.used == 0 and bench.core.room


def test_a_prompt_is_run_in_pieces_while_others_go_on(bench: Bench, talks: Model) -> None:
    _, short = bench.ask(request(said(asks(TEXTS[0]))))
    bench.core.turn()
    talk, long = bench.ask(request(WORDY))
    steps = []
    while not long.of(Began):
        bench.core.turn()
        steps.append(len(short.text_ids))
    assert len(steps) > 2 and steps == list(range(steps[0], steps[0] + len(steps)))
    bench.rest()
    for told in (short, long):
        told.check(talks)
    assert talk.stage == "over"


def test_a_prompt_that_is_cancelled_between_its_pieces_is_continued(bench: Bench, talks: Model) -> None:
    talk, told = bench.ask(request(WORDY, session="again"))
    bench.core.turn()
    bench.core.cancel(talk)
    assert [type(event) for event in told.events] == [Ended] and bench.core.used == 0
    _, again = bench.ask(request(WORDY, session="again"))
    bench.rest()
    again.check(talks)
    assert again.began.reused == 64 - 1


@pytest.mark.parametrize("turns", range(6))
def test_a_reply_can_be_cancelled_at_any_moment(bench: Bench, talks: Model, turns: int) -> None:
    talk, told = bench.ask(request(said(asks(WAVES[0]))))
    _, other = bench.ask(request(said(asks(WAVES[1]))))
    for _ in range(turns):
        bench.core.turn()
    bench.core.cancel(talk)
    events = list(told.events)
    assert told.end.reason == "cancelled"
    bench.rest()
    bench.core.cancel(talk)
    assert told.events == events and not bench.voices.keys() and bench.core.sessions.free == 4
    other.check(talks)


def test_a_reply_waits_for_its_listener(bench: Bench, talks: Model) -> None:
    talk, told = bench.ask(request(said(asks(WAVES[0]))))
    talk.played = 0.0
    bench.rest()
    ahead = len(told.units) / 25
    assert 2 < ahead < 2.6 and not told.of(Ended)
    assert bench.core.wait_s > 0
    _, other = bench.ask(request(said(asks(WAVES[1]))))
    bench.rest()
    other.check(talks)
    assert len(told.units) / 25 == ahead
    talk.played = ahead - 1.1  # more than half as far ahead as it may be
    bench.rest()
    assert len(told.units) / 25 == ahead
    talk.played = ahead - 0.9
    bench.rest()
    assert len(told.units) / 25 > ahead
    talk.played = 99.0
    bench.rest()
    told.check(talks)


def test_speech_that_nobody_needs_yet_waits_for_prompts_and_text_for_no_speech(bench: Bench, talks: Model) -> None:
    talk, told = bench.ask(request(said(asks(WAVES[0]))))
    talk.played = 0.0
    while talk.said_s < URGENT_S:
        bench.core.turn()
    _, other = bench.ask(request(WORDY))
    steps = len(told.text_ids)
    bench.core.turn()
    assert not bench.voices.asked and len(told.text_ids) == steps + 1
    talk.played, asked = talk.said_s, []
    bench.core.turn(lambda: asked.append(bench.voices.asked))
    assert not other.of(Began) and asked == [[]] and bench.voices.asked == [talk]
    bench.rest()
    for one in (told, other):
        one.check(talks)


def test_who_asks_together_is_heard_together(bench: Bench, talks: Model) -> None:
    spoken = [bench.ask(request(said(asks(text)))) for text in TEXTS[:2]]
    bench.core.turn()
    assert [len(told.of(Began)) for _, told in spoken] == [1, 0]
    bench.core.turn()
    assert [len(told.text_ids) for _, told in spoken] == [1, 1], "no step came between their prompts"
    spoken[0][0].played = 0.0
    while not spoken[0][0].said_s:
        bench.core.turn()
    steps = len(spoken[0][1].text_ids)
    spoken += [bench.ask(request(said(asks(text)))) for text in TEXTS[:2]]
    bench.core.turn()
    bench.core.turn()
    assert len(spoken[0][1].text_ids) > steps, "a listener who would hear nothing does not wait"
    for _, told in spoken:
        bench.rest()
        told.check(talks)


def test_prompts_that_come_and_go_keep_nobody_from_being_heard(bench: Bench) -> None:
    talk, told = bench.ask(request(said(asks(WAVES[0]))))
    talk.played = 0.0
    while talk.said_s < URGENT_S:
        bench.core.turn()
    steps = talk.steps
    others = [bench.ask(request(said(asks(TEXTS[1]))))]
    for _ in range(2 * PROMPTS_FIRST):
        others.append(bench.ask(request(said(asks(TEXTS[1])))))
        bench.core.turn()
        bench.core.cancel(others.pop(0)[0])
    assert talk.steps == steps + 2 and not told.of(Ended)


def test_a_reply_in_text_waits_for_no_other_prompt(bench: Bench) -> None:
    _, told = bench.ask(request(said(asks(TEXTS[0])), spoken=False))
    for _ in range(3):
        bench.ask(request(said(asks(TEXTS[1]))))
    for _ in range(4):
        bench.core.turn()
    assert len(told.text_ids) == 4


def test_speech_waits_for_a_request_that_came_within_the_turn(bench: Bench) -> None:
    talk, told = bench.ask(request(said(asks(WAVES[0]))))
    while not talk.said_s:
        bench.core.turn()
        assert not bench.voices.asked, "a first sound does not wait for the next turn"
    while talk.said_s < URGENT_S or not bench.voices.asked:
        bench.core.turn()
    talk.played, spoken, due = 0.0, len(told.of(Audio)), []

    def another() -> None:
        due.append(bench.voices.waiting)
        bench.ask(request(WORDY))

    bench.core.turn(another)
    assert due == [True] and not bench.voices.asked and len(told.of(Audio)) == spoken + 1


def test_what_leaves_its_slot_is_kept_within_the_memory_for_it(talks: Model) -> None:
    bench = Bench(talks, host_bytes=2 * 64 * 768)
    assert bench.device.position_bytes == 768
    conversations = [said(asks(text), system=str(number)) for number in range(7) for text in TEXTS[:1]]
    for number, conversation in enumerate(conversations):
        bench.ask(request(conversation, limit=2, session=str(number)))
        bench.rest()
    # Four are in slots, two on the host, the first is forgotten.
    assert bench.core.sessions.kept == 6 and bench.core.sessions.host_bytes == 2 * 64 * 768
    reused = {}
    for number in (0, 1, 6):
        _, told = bench.ask(request(conversations[number], limit=2, session=str(number)))
        bench.rest()
        told.check(talks)
        reused[number] = told.began.reused
    assert reused[0] == 0 and reused[6] > 10
    for number in range(7):
        bench.core.forget(str(number))
    sessions = bench.core.sessions
    assert sessions.kept == sessions.host_bytes == 0 and sessions.free == 4


def test_after_a_fault_replies_fail_and_others_begin(bench: Bench, talks: Model) -> None:
    found = [bench.ask(request(said(asks(text)), session=text)) for text in (*TEXTS, *TEXTS)]
    for _ in range(4):
        bench.core.turn()
    bench.core.fail("it failed")
    bench.core.restart()
    failed = [told for _, told in found if told.of(Ended)]
    assert len(failed) == 4 and all(told.end.error == "it failed" for told in failed)
    for told in failed:
        told.check(talks)
    bench.rest()
    for _, told in found:
        told.check(talks)
    assert bench.core.sessions.free == 4


def test_a_conversation_that_has_no_prompt_fails_alone(bench: Bench, talks: Model) -> None:
    short = said(dataclasses.replace(asks(TEXTS[0]), speech=np.array([9999])))
    _, told = bench.ask(request(short))
    _, other = bench.ask(request(said(asks(TEXTS[0]))))
    bench.rest()
    assert told.end.reason == "failed" and "outside" in told.end.error
    other.check(talks)
