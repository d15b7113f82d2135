"""Records as what training encodes: conversations, and pairs of any number of turns."""

import dataclasses

import numpy as np
import pytest
from toy_world import UNITS, LoudnessCodec
from user_rows import tone

from data_pipelines.records.record import (
    SCHEMA_VERSION,
    Audio,
    Message,
    Preference,
    Record,
    to_conversation,
    to_example,
    to_pair,
)
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.grid import encode, positions
from fac_jax.batching.pairs import Pair, collate_packed_pairs, encode_conversation_pairs
from fac_jax.models.config import ModelConfig
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, InputError, Kind

WAVE = tone(0.5)[:, 0]


def ids(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32) % UNITS


def said(text: str, tokens: int) -> Message:
    return Message("assistant", text, Audio(tokens=ids(tokens)))


def dialogue(*replies: Message) -> Record:
    """Two turns, the first answered aloud; then a pair of replies, or one."""
    before = (
        Message("user", "two plus one", Audio(wave=WAVE), lead="listen"),
        said("two plus one is two", 7),
        Message("user", "", Audio(wave=WAVE[:6400])),
    )
    if len(replies) == 1:
        return Record("row", None, (*before, *replies), None, "f", 1)
    return Record("row", None, before, Preference("empathy", *replies), "f", 1)


def test_record_to_conversation(tokenizer: Tokenizer, model: ModelConfig) -> None:
    assert SCHEMA_VERSION.split(".")[0].isdigit()
    conversation = to_conversation(dialogue(said("one", 12)))
    assert isinstance(to_example(dialogue(said("one", 12))), Conversation)
    assert [turn.role for turn in conversation.turns] == ["user", "assistant", "user", "assistant"]
    assert conversation.turns[0].wave is WAVE and conversation.turns[0].speech is None
    assert conversation.turns[1].speech.tolist() == list(range(7))
    example = encode(conversation, tokenizer, model)
    start = tokenizer.encode(f"system\n{SYSTEM_JOINT}")
    opened = [*tokenizer.encode("user\nlisten"), model.special.audio_bos, model.special.audio]
    assert example.text_ids[1 : 1 + len(start)].tolist() == start
    behind = example.text_ids[1 + len(start) + 1 + len(tokenizer.encode("\n")) + 1 :][: len(opened)]
    assert behind.tolist() == opened
    runs = np.flatnonzero(np.diff(example.kind == Kind.JOINT, prepend=False, append=False)).reshape(-1, 2)
    assert [int(end - start) for start, end in runs] == [
        max(2 + 2, len(tokenizer.encode("two plus one is two"))),
        2 + 3,
    ]
    assert len(example) == positions(conversation, tokenizer, model.group_size, model.delay_groups)


def test_default_system_prompt() -> None:
    text = Record("x", None, (Message("user", "", Audio(wave=WAVE)), Message("assistant", "one")), None, "f", 1)
    assert to_conversation(text).system == SYSTEM_TEXT
    assert to_conversation(dialogue(said("one", 12))).system == SYSTEM_JOINT
    for system in ("", "be kind"):
        assert to_conversation(dataclasses.replace(text, system=system)).system == system


def test_pairs_compare_only_the_last_replies(tokenizer: Tokenizer, model: ModelConfig) -> None:
    record = dialogue(said("one", 12), said("one plus one is two", 9))
    pair = to_pair(record)
    assert isinstance(to_example(record), Pair) and pair.task == "empathy"
    assert [turn.text for turn in pair.chosen.turns[:-1]] == [turn.text for turn in pair.rejected.turns[:-1]]
    (laid,) = encode_conversation_pairs([pair], tokenizer, model, None)
    for side, text in ((laid.chosen, "one"), (laid.rejected, "one plus one is two")):
        learnt = np.flatnonzero(side.labels != IGNORE)
        last = np.flatnonzero(side.text_ids == model.special.audio_bos)[-1]
        assert learnt[0] == last and (np.diff(learnt) == 1).all() and learnt[-1] == len(side) - 1
        assert np.flatnonzero((side.speech_labels != IGNORE).any(axis=1))[0] == last + 1
        words = tokenizer.encode(text)
        assert side.labels[last + 1 :][: len(words)].tolist() == words
    assert len(laid.mels) == 2 and laid.mels[0] is not None
    batch = collate_packed_pairs([[laid]], 1, 100, 4, 1, model)
    assert batch.batch.mel_lengths.tolist().count(0) == 1  # both prompts' audios, once for both replies
    assert batch.tasks.tolist() == [[3]]


def test_pairs_of_waves(tokenizer: Tokenizer, model: ModelConfig) -> None:
    def replies(task: str) -> Record:
        sides = [Message("assistant", text, Audio(wave=WAVE * level)) for text, level in (("one", 1.0), ("two", 0.5))]
        return Record("row", None, (Message("user", "hi"),), Preference(task, *sides), "f", 1)

    (laid,) = encode_conversation_pairs([to_pair(replies("robustness"))], tokenizer, model, LoudnessCodec())
    assert laid.spoken and laid.task == 0
    with pytest.raises(InputError, match="row row: unknown preference task 'beauty'"):
        encode_conversation_pairs([to_pair(replies("beauty"))], tokenizer, model, LoudnessCodec())
    with pytest.raises(ValueError, match="row row has no chosen and rejected reply"):
        to_pair(dialogue(said("one", 12)))
