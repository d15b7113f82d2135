"""Verdicts on calls: the synthesizer's own labels succeed everywhere, and every way to fail is named."""

import dataclasses
import functools

import pytest
from spoken_dialogues import dialogue, exchange, reply

from data_pipelines.duplex.make import CallsConfig, make_call
from data_pipelines.worlds.duplex_scenarios import SCENARIOS as MADE
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT
from fac_jax.evaluation.calls.base import Outcome, Reply, Scenario, Script
from fac_jax.evaluation.calls.scenarios import DEFINITIONS, SCORERS
from fac_jax.evaluation.calls.scores import scores

CALLS = 6
LONG = ("interruption", "stop", "backchannel", "noise", "side_talk", "echo")  # their replies last


@functools.cache
def scripts(name: Scenario) -> list[Script]:
    """Calls of a scenario as the synthesizer makes them, of tones in place of words."""
    made, found = MADE[name], []
    first = exchange("count to ten", 0.8, 4.0) if name in LONG else exchange()
    second = dataclasses.replace(exchange("what is two", 1.4), reply=reply("two is two", 1.0))
    for number in range(CALLS):
        asked = (first, second) if name == "interruption" else (first,)
        config = CallsConfig(number, made.slots, events=made.events, channel=made.channel)
        call = make_call(dialogue(f"{name}-{number}", asked), config)
        assert call is not None
        replies = tuple(Reply(turn.audible * SLOT, turn.closing * SLOT, turn.reply.text) for turn in call.line.turns)
        found.append(Script(call.id, call.line.slots, call.line.events, replies))
    return found


def verdict(name: Scenario, script: Script, *replies: Reply) -> Outcome:
    return SCORERS[name](script, list(replies))


def seconds(start: float, end: float, text: str = "one two") -> Reply:
    return Reply(round(start * RATE), round(end * RATE), text)


@pytest.mark.parametrize("name", SCORERS)
def test_the_labels_of_the_synthesizer_succeed(name: Scenario) -> None:
    outcomes = [verdict(name, script, *script.replies) for script in scripts(name)]
    found = scores(outcomes)
    assert found.success.value == 1 and not found.failures
    assert found.answer is None if name in ("silence", "noise_only") else found.answer.value == 1
    if name in ("interruption", "stop"):
        assert set(found.behaviours) == {"RESPOND"} and 0.2 < found.latency_median <= 0.8
    if name in ("backchannel", "noise", "side_talk"):
        assert set(found.behaviours) == {"RESUME"}
    if name in ("clean_turn", "pause", "unfinished", "echo"):
        assert 0.6 <= found.latency_median <= found.latency_p90 <= 0.8


@pytest.mark.parametrize("name", SCORERS)
def test_silence_is_a_success_only_where_nothing_is_to_be_said(name: Scenario) -> None:
    """A mute model is patient in pauses, but never answers."""
    outcome = verdict(name, scripts(name)[0])
    assert outcome.success == (name in ("pause", "unfinished", "silence", "noise_only"))
    assert outcome.latency is None and outcome.onsets == 0 and not outcome.answer


def test_a_clean_turn_has_a_limit_on_both_sides() -> None:
    script = scripts("clean_turn")[0]
    end = script.asked(0)[1]
    for after, failure in [(-1, "early"), (0, ""), (RATE, ""), (RATE + 1, "late")]:
        outcome = verdict("clean_turn", script, Reply(end + after, end + 3 * RATE, "One, two."))
        assert outcome.failure == failure and outcome.answer == (after >= 0)
        assert outcome.latency == (after if after >= 0 else None)
    assert not verdict("clean_turn", script, Reply(end, end + RATE, "one two three")).answer


@pytest.mark.parametrize("name", ["pause", "unfinished"])
def test_nothing_may_be_heard_before_a_question_is_finished(name: Scenario) -> None:
    for script in scripts(name):
        begin, end = script.asked(0)
        late = verdict(name, script, Reply(end + 5 * RATE, end + 6 * RATE, script.replies[0].text))
        early = verdict(name, script, Reply(end - SLOT, end, "one"), *script.replies)
        assert late.success and early.failure == "early" and early.latency is None and begin < end


def test_an_interruption_asks_for_a_stop_and_an_answer() -> None:
    script = scripts("interruption")[0]
    old, new = script.replies
    event = next(event for event in script.events if event.kind == "interruption")
    stopped = old._replace(end=event.onset + RATE * 4 // 5)
    assert verdict("interruption", script, stopped, new).behaviour == "RESPOND"
    on = verdict("interruption", script, stopped._replace(end=stopped.end + 1))
    assert (on.failure, on.behaviour, on.latency) == ("goes on", "RESUME", RATE * 4 // 5 + 1)
    again = verdict("interruption", script, stopped, Reply(event.end - 1, event.end + RATE, "what"))
    assert again.failure == "speaks again" and again.behaviour == "UNKNOWN"
    resumed = verdict("interruption", script, stopped, new._replace(text="two"))
    assert resumed.success and not resumed.answer and resumed.behaviour == "RESUME"
    absent = verdict("interruption", script, new)
    assert absent.failure == "not talking" and absent.latency is None and absent.answer


def test_after_a_command_a_word_may_follow() -> None:
    script = scripts("stop")[0]
    old = script.replies[0]
    for more, answer, behaviour in [((), True, "RESPOND"), (("okay",), True, "RESPOND")] + [
        (("one two",), False, "RESUME"),
        (("what is that",), False, "UNKNOWN"),
    ]:
        later = [Reply(old.end + RATE, old.end + 2 * RATE, text) for text in more]
        outcome = verdict("stop", script, old, *later)
        assert outcome.success and outcome.answer == answer and outcome.behaviour == behaviour


@pytest.mark.parametrize("name", ["backchannel", "noise", "side_talk"])
def test_what_is_no_interruption_changes_nothing(name: Scenario) -> None:
    script = scripts(name)[0]
    whole = script.replies[0]
    event = next(event for event in script.events if event.kind == name)
    cut = whole._replace(end=event.onset + SLOT)
    assert verdict(name, script, cut).failure == "stops"
    assert verdict(name, script, cut).behaviour == "UNKNOWN"
    assert verdict(name, script, cut, seconds(11, 12, "hello")).behaviour == "RESPOND"
    more = verdict(name, script, whole, Reply(whole.end + SLOT, whole.end + RATE, "yes"))
    assert (more.failure, more.behaviour) == ("speaks again", "RESPOND")
    other = verdict(name, script, whole._replace(text="one"))  # a shorter text takes less time
    assert other.success and not other.answer


def test_an_echo_is_nobody() -> None:
    script = scripts("echo")[0]
    whole = script.replies[0]
    middle = (whole.start + whole.end) // 2
    assert verdict("echo", script, whole._replace(end=middle)).failure == "stops"
    assert verdict("echo", script, whole, Reply(whole.end, whole.end + 1, "")).failure == "speaks again"


def test_a_greeting_comes_first_and_in_time() -> None:
    script = scripts("greeting")[0]
    hello, answer = script.replies
    assert verdict("greeting", script, answer).failure == "silent"
    assert verdict("greeting", script, hello._replace(start=RATE + 1), answer).failure == "late"
    assert verdict("greeting", script, hello._replace(text="yes"), answer).failure == "other words"


def test_every_scenario_is_defined() -> None:
    assert set(DEFINITIONS) == set(SCORERS) == set(MADE)


def test_calls_without_a_reaction_count_as_slow() -> None:
    def one(latency: int | None) -> Outcome:
        return Outcome("" if latency is not None else "silent", latency, None, None, 1)

    found = scores([one(RATE * n // 10) for n in range(1, 9)] + [one(None), one(None)])
    assert found.latency_median == 0.5 and found.latency_p90 is None
    assert found.to_json()["failures"] == {"silent": 2} and found.to_json()["calls"] == 10
    assert scores([one(RATE)] + [one(None)] * 2).latency_median is None
    assert scores([one(RATE)]).latency_p90 == 1.0


def test_what_is_heard_of_an_answer_has_a_share_of_its_own() -> None:
    right, wrong = (Outcome("", None, answer, None, 1) for answer in (True, False))
    both = scores([right, right], [right, wrong]).to_json()
    assert (both["answer"], both["heard"]) == (1.0, 0.5)
    assert scores([right]).to_json()["heard"] is None
