"""Replies id for id: where their groups are fed back, how they are closed, and what is left of one that was cut."""

import numpy as np
import pytest

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.batching.generated import closed, cut, fill
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import IGNORE, Kind

S = SpecialIds(pad=0, eos=90, audio=91, audio_bos=92, audio_eos=93, sil=94, speech_bos=50, speech_eos=51, speech_pad=53)
EOS = [51, 51]
SPOKEN = ([92, 1, 2, 94, 93, 90], [[50, 50], [5, 6], [7, 8], EOS])  # the eos group goes with the step of the third


def reply(text: list[int], groups: list[list[int]]) -> GeneratedReply:
    return GeneratedReply(np.array(text, np.int32), np.array(groups, np.int32).reshape(-1, 2))


def same(made: GeneratedReply, text: list[int], groups: list[list[int]]) -> bool:
    return made.text_ids.tolist() == text and made.groups.tolist() == groups and made.text_ids.dtype == np.int32


def test_groups_are_fed_back_one_position_later() -> None:
    fields = {name: np.zeros(6, np.int32) for name in ("text_ids", "labels", "kind")}
    fields |= {"speech_ids": np.full((6, 2), 53), "speech_labels": np.full((6, 2), IGNORE)}
    fill(fields, reply(*SPOKEN), S)
    joint = Kind.JOINT
    assert fields["kind"].tolist() == [0, joint, joint, joint, 0, 0]
    assert fields["text_ids"].tolist() == fields["labels"].tolist() == SPOKEN[0]
    assert fields["speech_ids"].tolist() == [[53, 53], [50, 50], [5, 6], [7, 8], [53, 53], [53, 53]]
    assert fields["speech_labels"].tolist() == [[IGNORE] * 2, [50, 50], [5, 6], [7, 8], EOS, [IGNORE] * 2]


@pytest.mark.parametrize(
    ("text", "groups", "ended_text", "ended_groups"),
    [
        (*SPOKEN, *SPOKEN),
        ([92, 1, 2], [[50, 50], [5, 6]], [92, 1, 2, 93, 90], [[50, 50], [5, 6], EOS]),  # the limit
        ([92, 1, 90], [[50, 50], [5, 6]], [92, 1, 94, 93, 90], [[50, 50], [5, 6], EOS]),  # its text ended first
        ([92], [], [92, 93, 90], [EOS]),
        ([92, 1, 93], [[5, 6], EOS], [92, 1, 93, 90], [[5, 6], EOS]),
        ([1, 2], [], [1, 2, 90], []),
        ([1, 90], [], [1, 90], []),
        ([], [], [90], []),
    ],
)
def test_a_reply_without_an_end_is_closed(text, groups, ended_text, ended_groups) -> None:
    made = closed(reply(text, groups), S)
    assert same(made, ended_text, ended_groups)
    assert same(closed(made, S), ended_text, ended_groups)


@pytest.mark.parametrize(
    ("heard", "text", "groups"),
    [
        (0, [92, 93, 90], [EOS]),
        (1, [92, 1, 93, 90], [[50, 50], EOS]),
        (2, [92, 1, 2, 93, 90], [[50, 50], [5, 6], EOS]),
        (3, *SPOKEN),
        (9, *SPOKEN),
    ],
)
def test_a_reply_that_was_cut_keeps_what_was_heard(heard, text, groups) -> None:
    assert same(cut(reply(*SPOKEN), heard, S), text, groups)


def test_a_written_reply_cannot_be_cut_by_what_was_heard() -> None:
    assert same(cut(reply([1, 2, 90], []), 0, S), [1, 2, 90], [])
