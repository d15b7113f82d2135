"""The toy world on the telephone: what is held out, and scenarios in each of which one thing happens."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.duplex.make import CallsConfig, MadeCall, make_call
from data_pipelines.importers.registry import read
from data_pipelines.worlds import duplex_world
from data_pipelines.worlds.arithmetic import WorldConfig, reply, split_pairs
from data_pipelines.worlds.duplex_scenarios import LONG, QUIET, SCENARIOS, split_dialogues, write_split
from data_pipelines.worlds.duplex_world import COUNTS, DuplexWorldConfig, count_to, draws, planned, sum_of, two_sums
from data_pipelines.worlds.synthesis import Job
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import EventKind
from fac_jax.types import InputError

WORLD = WorldConfig(limit=4, test_pairs=4, dev_pairs=2, clips_per_pair=2, read_aloud=4, transcribe=2)
CONFIG = DuplexWorldConfig(WORLD, 6, 2, 3, 1, 4.0, voices=4, exchanges=3)
# Events that tell of every turn, whatever the scenario.
ALWAYS = {EventKind.SPEECH, EventKind.RESPONSE_GAP, EventKind.USER_GAP}
KINDS = {
    "clean_turn": None,
    "pause": EventKind.PAUSE,
    "unfinished": EventKind.UNFINISHED,
    "interruption": EventKind.INTERRUPTION,
    "stop": EventKind.STOP,
    "backchannel": EventKind.BACKCHANNEL,
    "noise": EventKind.NOISE,
    "side_talk": EventKind.SIDE_TALK,
    "echo": None,
    "greeting": EventKind.GREETING,
    "silence": EventKind.SILENCE,
    "noise_only": EventKind.NOISE_ONLY,
}


def test_questions_and_replies_in_words() -> None:
    one = sum_of((3, "plus", 4), "what is {}")
    assert (one.asked, one.parts) == ("what is three plus four", ("what is three plus", "four"))
    both = two_sums((3, "plus", 4), (4, "minus", 2))
    assert both.asked == "what is three plus four and four minus two" == " ".join(both.parts)
    assert both.reply == "three plus four is seven and four minus two is two"
    count = count_to(4)
    assert (count.asked, count.reply, count.spoken) == ("count to four", "one two three four", "one, two, three, four")


def test_pairs_and_voices_are_held_out() -> None:
    pairs, found = split_pairs(WORLD), draws(CONFIG)
    replies = {split: {reply(pair) for pair in pairs[split]} for split in pairs}
    heard = {}
    for split, draw in found.items():
        spoken = planned(draw, split, 40, lambda draw: [draw.question() for _ in range(3)])
        asked = {text for one in spoken for q in one.questions for text in q.reply.split(" and ") if " is " in text}
        assert asked and asked <= replies[split]
        heard[split] = {one.voice.name for one in spoken} | {job[1].name for one in spoken for job in one.others}
        assert all(job[1].name != one.voice.name for one in spoken for job in one.others)
    assert not heard["train"] & heard["test"] and not heard["train"] & heard["dev"]
    lengths = {len(q.reply.split()) for one in spoken for q in one.questions if q.asked.startswith("count")}
    assert lengths <= set(COUNTS)


def test_draws_are_those_of_the_seed() -> None:
    one, again, other = (
        planned(draws(dataclasses.replace(CONFIG, world=dataclasses.replace(WORLD, seed=seed)))["train"], "a", 5,
                lambda draw: [draw.question()])
        for seed in (0, 0, 1)
    )  # fmt: skip
    assert one == again != other


def test_impossible_worlds_are_refused() -> None:
    with pytest.raises(InputError, match="calls is 0"):
        DuplexWorldConfig(calls=0)


def fake_speech(jobs: Sequence[Job], processes: int) -> list[np.ndarray]:
    """A tone for every text, 0.06 s a letter."""
    return [(8000 * np.sin(np.arange(960 * len(text)) / 5)).astype(np.int16) for text, _ in jobs]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplex_world, "speak_all", fake_speech)


def calls_of(name: str) -> list[MadeCall]:
    dialogues, _, config = split_dialogues(name, CONFIG, CallsConfig(), 1)
    made = [make_call(dialogue, config) for dialogue in dialogues]
    assert None not in made
    return [call for call in made if call is not None]


@pytest.mark.parametrize("name", SCENARIOS)
def test_one_thing_happens_in_every_call_of_a_scenario(name: str, fake: None) -> None:
    calls, kind = calls_of(name), KINDS[name]
    assert len(calls) == (1 if name in QUIET else 3)
    for call in calls:
        line = call.line
        own = [event for event in line.events if event.kind not in ALWAYS]
        assert {event.kind for event in own} == ({kind} if kind is not None else set())
        cut = [turn.cut for turn in line.turns]
        if name in ("interruption", "stop"):
            assert cut[0] and own[0].turn == 0 and line.turns[0].closing - own[0].slot in (2, 3, 4)
        else:
            assert not any(cut)
        if name == "pause":
            assert 0.6 <= (own[0].end - own[0].onset) / RATE <= 1.5
        if name in ("backchannel", "noise", "side_talk", "echo", "stop", "interruption"):
            assert len(line.turns[0].reply.text.split()) >= LONG
        assert (name not in QUIET) or (line.slots == 20 and not line.turns)
        silent = slice(0, line.sounds[0].onset if line.sounds else 0)
        assert np.abs(call.user[silent]).max(initial=0) < 1e-6  # no noise and no room of its own


def test_the_echo_scenario_has_nothing_but_the_echo(fake: None) -> None:
    for call in calls_of("echo"):
        (turn,) = call.line.turns
        during = call.user[turn.onset + RATE : turn.spoken]
        played = call.assistant[turn.onset + RATE : turn.spoken]
        assert 0.05 < np.sqrt(np.mean(during**2) / np.mean(played**2)) < 0.25


def test_training_calls_are_of_their_length(fake: None) -> None:
    for call in calls_of("train"):
        quiet = call.line.events[0].kind in (EventKind.SILENCE, EventKind.NOISE_ONLY)
        assert call.line.slots == 150 if quiet else 60 <= call.line.slots <= 160


def test_splits_are_read_by_their_names(tmp_path: Path, fake: None) -> None:
    for name in ("dev", "clean_turn"):
        assert write_split(name, CONFIG, CallsConfig(), tmp_path, "flac", 2) == []
    assert [row.id for row in read(tmp_path, split="clean_turn")] == ["clean_turn-0", "clean_turn-1", "clean_turn-2"]
    assert len(list(read(tmp_path))) == 5
    with pytest.raises(InputError, match="no split 'test'; it has clean_turn, dev"):
        list(read(tmp_path, split="test"))


def test_voices_that_do_not_exist_are_named(tmp_path: Path) -> None:
    """Through the synthesizer itself."""
    config = dataclasses.replace(CONFIG, world=dataclasses.replace(WORLD, test_voices=("nobody",)))
    with pytest.raises(InputError, match="no voice 'nobody'"):
        split_dialogues("clean_turn", config, CallsConfig(), 1)
