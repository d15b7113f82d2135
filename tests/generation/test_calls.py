"""The calls of a model: places, work between ticks, turns, admission; and that nothing compiles after the warm-up."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from toy_calls import CONFIG, noise, toy

from fac_jax.duplex.call import SLOT, Turn
from fac_jax.duplex.layout import read_turns
from fac_jax.generation.duplex.admission import Admission
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.live_call import CallOptions, LiveCall
from fac_jax.generation.duplex.record import Record, Step, spoken_ids
from fac_jax.generation.duplex.state import Mode
from fac_jax.generation.sampling import Sampling
from fac_jax.models.config import replace
from fac_jax.text.chat import Turn as Said
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

DRAWN = Sampling(temperature=1.0)
GREEDILY = CallOptions()
SYSTEM = "what is"
PLACES = 3


@pytest.fixture(scope="module")
def calls(tokenizer: Tokenizer) -> Calls:
    special = tokenizer.special_ids(16)
    assert CONFIG.duplex is not None
    duplex = dataclasses.replace(CONFIG.duplex, sinks=24, head_window=40, window=40)
    made = toy(replace(CONFIG, vocab_size=tokenizer.vocab_size, special=special, duplex=duplex))
    found = Calls(made.model, made.params, tokenizer, PLACES, draws=True, roll_after=20)
    found.warm_up()
    return found


def begun(calls: Calls, options: CallOptions = GREEDILY, **more: Any) -> LiveCall:
    call = calls.join(SYSTEM, options, **more)
    assert call is not None
    while calls.waiting:
        calls.work()
    return call


def drawn(seed: int, **more: Any) -> CallOptions:
    return CallOptions(seed, text=DRAWN, speech=DRAWN, **more)


def test_calls_come_and_go_and_nothing_compiles(calls: Calls) -> None:
    """A call has the same ids whatever others do, be it rolled over or instructed; its turns are those of its ids."""
    compiled: list[str] = []

    def count(event: str, duration_secs: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(count)
    made: list[list[Step]] = []
    for company in (False, True):
        rng = np.random.default_rng(1)
        others = [begun(calls)] if company else []  # so that the call is in another place
        call = begun(calls, drawn(3, start_bias=1.0))
        assert call.next is not None
        steps, user = [call.next], noise(3, 70)
        for number, block in enumerate(user.reshape(-1, SLOT)):
            if company and calls.free and rng.random() < 0.3:
                others.append(begun(calls, drawn(number, greets=number % 2 == 0), history=[Said("user", "two")]))
            if company and others and rng.random() < 0.1:
                calls.leave(others.pop())
            if company and others and number == 30:
                calls.instruct(others[0], "plus")
            heard = {one: noise(number, 1) for one in others if one.next is not None and rng.random() < 0.9}
            steps.append(calls.tick({call: block} | heard)[call])
            while calls.waiting:
                calls.work(0.01)
        made.append(steps)
        found = read_turns(np.array([s.text_id for s in steps]), np.stack([s.group for s in steps]), calls.special)
        turns = call.record.all_turns(len(steps))
        assert len(turns) == len(found) > 2
        for mine, theirs in zip(turns, found, strict=True):
            assert (mine.opening, mine.closing) == (theirs.opening, theirs.closing)
            assert mine.text_ids.tolist() == theirs.text_ids.tolist()
            assert mine.groups.tolist() == theirs.groups.tolist()
        assert call.fresh < 70  # it was rolled over
        for one in [call, *others]:
            calls.leave(one)
    assert [s.text_id for s in made[0]] == [s.text_id for s in made[1]]
    assert [s.group.tolist() for s in made[0]] == [s.group.tolist() for s in made[1]]
    assert not compiled and calls.free == PLACES


def test_a_greeting_opens_slot_0(calls: Calls) -> None:
    call = begun(calls, CallOptions(greets=True))
    assert call.next is not None and (call.next.slot, call.next.mode) == (0, Mode.OPENING)
    calls.leave(call)


def test_eagerness_is_set_for_each_call(calls: Calls) -> None:
    eager, shy = begun(calls, CallOptions(start_bias=50.0)), begun(calls, CallOptions(start_bias=-50.0))
    assert eager.next is not None and eager.next.mode == Mode.OPENING and eager.next.chance > 0.99
    assert shy.next is not None and shy.next.mode == Mode.IDLE and shy.next.chance < 0.01
    calls.leave(eager)
    calls.leave(shy)


def test_a_call_that_leaves_while_its_prompt_runs_is_gone(calls: Calls) -> None:
    call = calls.join(SYSTEM)
    assert call is not None and calls.waiting
    calls.leave(call)
    other = begun(calls)
    assert call.next is None and other.place == call.place
    calls.leave(other)


def test_more_calls_than_places_and_too_long_a_prompt_are_refused(calls: Calls) -> None:
    there = [begun(calls) for _ in range(PLACES)]
    assert calls.join(SYSTEM) is None
    with pytest.raises(InputError, match="sinks for 1 to 24"):
        calls.instruct(there[0], "what is two plus three " * 9)
    for call in there:
        calls.leave(call)
    with pytest.raises(InputError, match="sinks for 1 to 24"):
        calls.join("what is two plus three " * 9)
    assert calls.free == PLACES


def turn(ids: int, groups: int, cut: bool) -> Turn:
    return Turn(0, groups + 3, np.arange(ids, dtype=np.int32), np.zeros((groups, 5), np.int32), cut)


def test_spoken_ids_follow_the_time_that_was_played() -> None:
    whole, cut = turn(10, 20, False), turn(12, 8, True)
    assert spoken_ids(whole, 20, [whole]) == 10
    assert spoken_ids(whole, 10, [whole]) == 5
    assert spoken_ids(cut, 8, [whole, cut]) == 4  # 2.5 ids a second, as in the whole turn
    assert spoken_ids(cut, 8, [cut]) == 5  # 3.5 ids a second, of which nothing is known
    assert spoken_ids(cut, 0, [whole, cut]) == 0
    assert spoken_ids(turn(3, 30, True), 30, []) == 3


def test_a_turn_that_goes_on_is_cut_by_the_end_of_the_call() -> None:
    record = Record(CONFIG.special)
    group = np.arange(5)
    for slot, mode in enumerate((Mode.IDLE, Mode.OPENING, Mode.TALKING)):
        assert record.add(Step(slot, 9, group, mode, 0.5, False)) is None
    (found,) = record.all_turns(3)
    assert (found.opening, found.closing, found.cut) == (1, 3, True)
    assert record.add(Step(3, 4, group, Mode.CLOSING, 0.5, False)) is not None
    assert [one.cut for one in record.all_turns(4)] == [False]


@pytest.mark.parametrize(
    ("seconds", "calls", "admits"),
    [
        ([], 3, True),
        ([0.1] * 50, 3, True),
        ([0.1] * 99 + [0.16], 3, True),  # one of a hundred
        ([0.1] * 98 + [0.16, 0.17], 3, False),
        ([0.01] * 98 + [0.21, 0.21], 3, False),
        ([0.21, 0.21] + [0.01] * 100, 3, True),  # 20 s ago
        ([0.3] * 50, 0, True),
    ],
)
def test_calls_are_admitted_while_ticks_are_fast(seconds: list[float], calls: int, admits: bool) -> None:
    assert Admission().admits(seconds, calls) == admits
