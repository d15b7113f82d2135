"""The layout of a call, its inverse, and what it refuses."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fac_jax.batching.collate import collate, collate_packed
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.conversation import Turn as Message
from fac_jax.batching.grid import Example, encode
from fac_jax.duplex.call import GROUP, SLOT, SLOT_FRAMES, Call, Event, EventKind, Turn
from fac_jax.duplex.layout import lay_out, moments, prompt_ids, read_turns
from fac_jax.losses.duplex_weights import speech_weights, text_weights
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, NO_FRAME, InputError, Kind, Moment

SYSTEM = "hear"
CONFIG = DuplexConfig(sinks=40, loudest_floor=0.0)
NONE = np.zeros((0, GROUP), np.int32)
GROUPS = np.arange(2 * GROUP, dtype=np.int32).reshape(2, GROUP)
WORDS = np.array([70, 71], np.int32)


def call_of(slots: int, *turns: Turn, events: tuple[Event, ...] = ()) -> Call:
    return Call("a", SYSTEM, slots, np.zeros(slots * SLOT, np.float32), turns, events)


def laid(call: Call, tokenizer: Tokenizer, model: ModelConfig, offset: int = 0) -> Example:
    heard = np.zeros((call.slots * SLOT_FRAMES, model.mel_bins), np.float32)
    return lay_out(call, (heard,), tokenizer, model, CONFIG.sinks, offset)


def test_every_slot_is_laid_out_as_the_table_says(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """Slots 0 and 1 idle, 2 opens, 3 and 4 delay, 5 and 6 heard, 7 closes, 8 idle; then a turn taken back at once."""
    call = call_of(11, Turn(2, 7, WORDS, GROUPS), Turn(8, 10, WORDS[:1], NONE, cut=True))
    row, special = laid(call, tokenizer, model), model.special
    before = len(prompt_ids(SYSTEM, tokenizer))
    assert len(row) == before + 11 and tuple(row.text_ids[:before]) == prompt_ids(SYSTEM, tokenizer)
    bos, eos, sil, audio = special.audio_bos, special.audio_eos, special.sil, special.audio
    kinds = "S S T J J J J T T J T".split()
    assert [Kind(k).name[0] for k in row.kind[before:]] == kinds
    ids = [audio, audio, bos, 70, 71, sil, sil, eos, bos, 70, eos]
    np.testing.assert_array_equal(row.text_ids[before:], ids)
    np.testing.assert_array_equal(row.labels[before:], [sil if i == audio else i for i in ids])
    np.testing.assert_array_equal(row.has_waveform[before:], [k == "S" for k in kinds])
    assert row.beside is not None
    np.testing.assert_array_equal(row.beside[before:], [k != "S" for k in kinds])
    sbos, seos, pad = special.speech_bos, special.speech_eos, special.speech_pad
    np.testing.assert_array_equal(row.speech_ids[before:, 0], [pad, pad, pad, sbos, sbos, 0, 5, pad, pad, sbos, pad])
    none = IGNORE
    want = [none, none, none, sbos, sbos, 0, 5, seos, none, sbos, seos]
    np.testing.assert_array_equal(row.speech_labels[before:, 0], want)
    assert (row.speech_labels[before + 7] == seos).all()
    np.testing.assert_array_equal(row.frame_index[before:], np.arange(11 * GROUP).reshape(11, GROUP))
    for name, value in {"labels": IGNORE, "frame_index": NO_FRAME, "speech_labels": IGNORE, "beside": False}.items():
        assert (getattr(row, name)[:before] == value).all(), name
    assert row.positions is not None and row.positions[before] == CONFIG.sinks
    np.testing.assert_array_equal(np.diff(row.positions), 1)


def test_a_call_that_began_earlier_has_its_prompt_where_it_is(tokenizer: Tokenizer, model: ModelConfig) -> None:
    plain, late = (laid(call_of(3), tokenizer, model, offset).positions for offset in (0, 1000))
    assert plain is not None and late is not None
    before = len(late) - 3
    np.testing.assert_array_equal(late - plain, [0] * before + [1000] * 3)


def test_a_group_that_is_not_full_teaches_no_padding(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """As the last group of a half-duplex reply; a call may end before its last turn."""
    groups = GROUPS.copy()
    groups[1, 3:] = model.special.speech_pad
    row = laid(call_of(5, Turn(0, 5, WORDS, groups)), tokenizer, model)
    np.testing.assert_array_equal(row.speech_ids[-1], groups[1])
    np.testing.assert_array_equal(row.speech_labels[-1], [5, 6, 7, IGNORE, IGNORE])
    assert row.kind[-1] == Kind.JOINT


def test_a_turn_is_the_half_duplex_layout(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """From `audio_bos` to the position of `audio_eos`, every field."""
    tokens = np.arange(13) % model.units
    half = encode(Conversation("a", SYSTEM, (Message("user", "hm"), Message("assistant", "one two", speech=tokens))),
                  tokenizer, model)  # fmt: skip
    first = int(np.argmax(half.text_ids == model.special.audio_bos))
    last = int(np.argmax(half.text_ids == model.special.audio_eos))
    groups = half.speech_ids[first + 1 + model.delay_groups : last]
    ids = np.array(tokenizer.encode("one two"), np.int32)
    call = call_of(last - first + 3, Turn(1, 1 + last - first, ids, groups))
    row = laid(call, tokenizer, model)
    start = len(row) - call.slots + 1
    for name in ("text_ids", "kind", "speech_ids", "labels", "speech_labels"):
        np.testing.assert_array_equal(
            getattr(row, name)[start : start + last - first + 1], getattr(half, name)[first : last + 1], err_msg=name
        )


@st.composite
def calls(draw: Any) -> Call:
    """Calls of a model with a delay of two groups and 16 units."""
    turns, free = [], 0
    for _ in range(draw(st.integers(0, 4))):
        opening = free + draw(st.integers(0, 3))
        talking = draw(st.integers(0, 6))
        ids = draw(st.lists(st.integers(10, 60), max_size=talking))
        speech = draw(st.lists(st.integers(0, 15), min_size=5 * max(0, talking - 2), max_size=5 * max(0, talking - 2)))
        groups = np.array(speech, np.int32).reshape(-1, GROUP)
        turns.append(Turn(opening, opening + 1 + talking, np.array(ids, np.int32), groups))
        free = opening + 2 + talking
    return call_of(free + draw(st.integers(1, 3)), *turns)


@settings(max_examples=40, deadline=None)
@given(call=calls())
def test_turns_are_read_back_from_ids(call: Call, tokenizer: Tokenizer, model: ModelConfig) -> None:
    row = laid(call, tokenizer, model)
    start = len(row) - call.slots
    found = read_turns(row.text_ids[start:], row.speech_ids[start:], model.special)
    assert [(t.opening, t.closing, t.audible) for t in found] == [(t.opening, t.closing, t.audible) for t in call.turns]
    for got, want in zip(found, call.turns, strict=True):
        np.testing.assert_array_equal(got.text_ids, want.text_ids)
        np.testing.assert_array_equal(got.groups, want.groups)


def test_a_turn_without_end_is_read_to_the_last_slot(model: ModelConfig) -> None:
    ids = np.array([model.special.sil, model.special.audio_bos, 70, 71])
    (turn,) = read_turns(ids, np.full((4, GROUP), model.special.speech_bos), model.special)
    assert (turn.opening, turn.closing, turn.audible, list(turn.text_ids)) == (1, 4, 4, [70, 71])


REFUSED = {
    "text": (Turn(1, 5, np.arange(70, 74, dtype=np.int32), NONE[:0].reshape(0, GROUP)), "4 text ids for its 3 slots"),
    "groups": (Turn(1, 6, WORDS, GROUPS[:1]), "1 groups of speech; its slots hold 2 after 2 of delay"),
    "end": (Turn(6, 12, WORDS, np.zeros((3, GROUP), np.int32)), "takes the slots 6 to 12; slots 0 to 9 are free"),
    "order": (Turn(4, 4, WORDS[:0], NONE), "takes the slots 4 to 4"),
    "unit": (Turn(1, 5, WORDS, np.full((1, GROUP), 16, np.int32) + 3000), "speech id 3016, outside the codec's 16"),
    "word": (Turn(1, 5, WORDS + 100_000, GROUPS[:1]), "text id 100071, outside the vocabulary"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_turns_that_do_not_fit_are_refused(case: str, tokenizer: Tokenizer, model: ModelConfig) -> None:
    turn, message = REFUSED[case]
    with pytest.raises(InputError, match=message) as refused:
        laid(call_of(10, turn), tokenizer, model)
    assert str(refused.value).startswith("row a: turn 0 ") and "\n" not in str(refused.value)


def test_all_faults_are_named_together(tokenizer: Tokenizer, model: ModelConfig) -> None:
    call = dataclasses.replace(call_of(10, Turn(1, 5, WORDS, GROUPS[:1]), Turn(3, 7, WORDS, NONE)), user=np.zeros(7))
    with pytest.raises(InputError) as refused:
        lay_out(call, (np.zeros((60, model.mel_bins), np.float32),), tokenizer, model, sinks=1)
    for part in ("slots 6 to 9 are free", "0 groups of speech", "7 samples", "of 3 slots, not 10", "the 1 sinks"):
        assert part in str(refused.value)


def test_trailing_windows_are_read_at_their_last_slot(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """A window of the toy model has two slots: 40 log-mel frames, 10 encoder frames."""
    call = call_of(4)
    heard = [np.zeros((SLOT_FRAMES * min(slot + 1, 2), model.mel_bins), np.float32) for slot in range(4)]
    row = lay_out(call, heard, tokenizer, model, CONFIG.sinks)
    np.testing.assert_array_equal(row.frame_index[-4:, 0], [0, 15, 25, 35])
    with pytest.raises(InputError, match="features"):
        lay_out(call, heard[:3], tokenizer, model, CONFIG.sinks)


def test_moments_of_a_call() -> None:
    pause = Event(EventKind.PAUSE, 2 * SLOT + 100, 5 * SLOT + 100)
    under = Event(EventKind.BACKCHANNEL, 10 * SLOT + 5, 12 * SLOT, "mm-hm", turn=0)
    idle = Event(EventKind.BACKCHANNEL, 0, SLOT, "mm-hm")
    turns = (Turn(7, 14, WORDS, np.zeros((4, GROUP), np.int32), cut=True), Turn(15, 17, WORDS[:1], NONE))
    found = moments(call_of(18, *turns, events=(idle, pause, under)))
    want = {3: Moment.PAUSE, 4: Moment.PAUSE, 5: Moment.PAUSE, 10: Moment.BACKCHANNEL, 11: Moment.BACKCHANNEL}
    want[14] = Moment.CUT
    assert {slot: Moment(found[slot]) for slot in np.flatnonzero(found)} == want


def test_calls_and_conversations_share_a_batch(tokenizer: Tokenizer, model: ModelConfig) -> None:
    """Conversations have nothing beside their streams, and positions from 0."""
    duplex = replace(model, duplex=CONFIG)
    call = laid(call_of(6, Turn(1, 5, WORDS, GROUPS[:1], cut=True)), tokenizer, model)
    talk = encode(Conversation("b", "", (Message("user", "one"), Message("assistant", "two"))), tokenizer, model)
    batch = collate_packed([[talk, call]], 1, len(talk) + len(call) + 2, 4, duplex)
    assert batch.beside is not None and batch.moments is not None and call.beside is not None
    start = len(talk)
    np.testing.assert_array_equal(batch.beside[0, start : start + len(call)], call.beside)
    np.testing.assert_array_equal(batch.positions[0, start : start + len(call)], call.positions)
    np.testing.assert_array_equal(batch.moments[0, start : start + len(call)], call.moments)
    assert not batch.beside[0, :start].any() and list(batch.positions[0, :start]) == list(range(start))
    alone = collate([talk], 1, len(talk), 1, duplex)
    assert isinstance(alone.beside, np.ndarray) and not alone.beside.any()  # one program for every batch
    with pytest.raises(InputError, match="row a is a call"):
        collate([call], 1, len(call), 4, model)


def test_weights_of_labels(tokenizer: Tokenizer, model: ModelConfig) -> None:
    call = call_of(9, Turn(1, 6, WORDS, GROUPS), Turn(7, 8, WORDS[:0], NONE))
    row = laid(call, tokenizer, model)
    text = np.asarray(text_weights(row.labels[None], row.kind[None], row.beside[None], model.special, CONFIG))[0, -9:]
    np.testing.assert_allclose(text, [0.3, 5, 1, 1, 1, 1, 5, 5, 5], rtol=1e-6)
    speech = np.asarray(speech_weights(row.speech_labels[None], row.beside[None], model.special, CONFIG))[0, -9:]
    np.testing.assert_allclose(speech, [1, 1, 1, 1, 2, 1, 2, 1, 2], rtol=1e-6)
    beside = np.zeros_like(row.beside)[None]
    assert (np.asarray(speech_weights(row.speech_labels[None], beside, model.special, CONFIG)) == 1).all()
