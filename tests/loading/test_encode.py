"""Users' rows that are decoded and encoded when a batch needs them, conversations and preference pairs."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_world import LoudnessCodec
from user_rows import encoded, save

from data_pipelines.augment.operations import Noise, Speed
from data_pipelines.augment.wave import WaveAugmentConfig, augment_wave
from data_pipelines.loading.encode import Encode
from data_pipelines.loading.loader import PackedBatches
from data_pipelines.loading.sources import Source, items_as_source, mixture, one_epoch
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Audio, Message, Preference, Record
from data_pipelines.worlds.views import conversations
from fac_jax.audio.mel import host_log_mel
from fac_jax.batching.collate import collate
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode, windows_of
from fac_jax.batching.packing import Budget
from fac_jax.losses import LOSSES, Sft
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import NO_TASK, InputError

TOKENS = np.arange(16, dtype=np.int32)


def record(name: str, seconds: float, reply: str = "four") -> Record:
    user = Message("user", audio=Audio(data=encoded(seconds)))
    return Record(name, None, (user, Message("assistant", reply, Audio(tokens=TOKENS))), None, "rows.jsonl", 1)


def pair(name: str, seconds: float) -> Record:
    user = Message("user", audio=Audio(data=encoded(seconds)))
    replies = [Message("assistant", text, Audio(tokens=TOKENS[:size])) for text, size in (("two", 9), ("one", 16))]
    return Record(name, None, (user,), Preference("empathy", *replies), "pairs.jsonl", 1)


@pytest.fixture
def made(tokenizer: Tokenizer, model: ModelConfig) -> dict[str, Any]:
    return {"tokenizer": tokenizer, "model": model}


def test_an_item_is_what_encoding_in_advance_gives(made: dict[str, Any], toy_rows: Any) -> None:
    row = next(row for row in toy_rows["train"] if row.user_audio is not None and row.assistant_audio is not None)
    (conversation,) = conversations([row], "s2s")
    want = encode(add_features([conversation], LoudnessCodec())[0], **made)
    user, reply = conversation.turns
    messages = (
        Message("user", user.text, Audio(wave=user.wave)),
        Message("assistant", reply.text, Audio(wave=reply.wave)),
    )
    found = Record(want.id, conversation.system, messages, None, "rows", 1)
    got = Encode(codec=LoudnessCodec(), **made)(found, 0)
    for name in ("text_ids", "kind", "speech_ids", "frame_index", "labels", "speech_labels"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))
    np.testing.assert_allclose(got.mels[0], want.mels[0], atol=1e-5)


def test_what_is_heard_changes_with_the_epoch_and_may_change_its_length(made: dict[str, Any]) -> None:
    waves = WaveAugmentConfig(speed=Speed(1.0, (0.5, 0.5)), noise=Noise(1.0))
    plain, encode_changed = Encode(**made)(record("a", 2.0), 0), Encode(waves=waves, seed=7, **made)
    first, again, later = (encode_changed(record("a", 2.0), epoch) for epoch in (0, 0, 1))
    assert len(plain.mels[0]) == 200 and {len(item.mels[0]) for item in (first, later)} == {400}
    assert len(first) - len(plain) == 10
    np.testing.assert_array_equal(first.mels[0], again.mels[0])
    assert not np.array_equal(first.mels[0], later.mels[0])
    asked = with_waves(record("a", 2.0)).audios[0].wave
    heard = augment_wave(asked, waves, 7, 1, "a")
    np.testing.assert_array_equal(later.mels[0], host_log_mel(heard))


def test_a_model_that_hears_calls_in_blocks_hears_half_of_the_conversations_so(made: dict[str, Any]) -> None:
    duplex = DuplexConfig(sinks=4, loudest_floor=0.0, stream="block")
    model = replace(made["model"], duplex=duplex)
    make = Encode(made["tokenizer"], model, seed=7)

    def drawn(make: Encode, epoch: int) -> list[bool]:
        return [make(record(f"row {i}", 0.4), epoch).blocks for i in range(20)]

    first = drawn(make, 0)
    assert 5 < sum(first) < 15 and first == drawn(make, 0)
    assert first != drawn(make, 1) and first != drawn(dataclasses.replace(make, seed=8), 0)
    slide = replace(model, duplex=dataclasses.replace(duplex, stream="slide"))
    assert not any(drawn(Encode(made["tokenizer"], slide), 0))
    examples = [make(record(f"row {i}", 2.5), 0) for i in (0, first.index(True), first.index(False))]
    wanted = [one.blocks for one in examples for _ in range(windows_of(one.mels[0], model.n_window))]
    shapes = (4, max(map(len, examples)), len(wanted) + 2)
    batch = collate(examples, *shapes, model)
    assert batch.mel_blocks is not None and batch.mel_blocks.tolist() == [*wanted, False, False]
    assert collate(examples, *shapes, slide).mel_blocks is None


def test_both_sides_of_a_pair_hear_the_same_change(made: dict[str, Any]) -> None:
    waves = WaveAugmentConfig(noise=Noise(1.0))
    item = Encode(waves=waves, **made)(pair("p", 1.0), 3)
    np.testing.assert_array_equal(item.chosen.mels[0], item.rejected.mels[0])
    assert not np.array_equal(item.chosen.mels[0], Encode(**made)(pair("p", 1.0), 3).chosen.mels[0])


def source(rows: list[Record], make: Encode) -> Source:
    """Rows with the sizes of their items."""
    items = items_as_source([make(row, 0) for row in rows], make.model.audio.n_window)
    return Source(rows, make, items.length, items.windows)


def test_pairs_are_packed_and_each_comes_once_an_epoch(made: dict[str, Any]) -> None:
    rows = [pair(f"p{i}", 0.4 + 0.3 * i) for i in range(7)]
    stream = mixture({"pairs": source(rows, Encode(**made))}, {"pairs": 1.0}, 0)
    budget = Budget(2, 160, 15, segments=3)
    batches, seen = PackedBatches(stream, budget, made["model"], LOSSES["preference"]().collate), Counter[str]()
    for _ in range(8):
        loaded: Any = next(batches)
        assert loaded.batch.batch.text_ids.shape == (4, 160) and loaded.batch.tasks.shape == (2, 3)
        assert loaded.batch.batch.mel_windows.shape[0] == budget.windows
        assert (loaded.batch.tasks != NO_TASK).sum() == len(loaded.row_ids)
        assert loaded.batch.batch.segment_ids.max() > 1
        seen.update(loaded.row_ids)
    state = batches.get_state()
    drawn = [rows[stream.place(number).row].id for number in range(state["drawn"])]
    assert seen + Counter(drawn[number] for number in state["waiting"]) == Counter(drawn)
    assert all(len(set(drawn[i : i + 7])) == 7 for i in range(0, len(drawn) - 6, 7))


def test_pairs_need_a_number_of_places_in_a_row(made: dict[str, Any]) -> None:
    stream = one_epoch("pairs", source([pair("p", 0.4)], Encode(**made)))
    with pytest.raises(InputError, match="packed preference pairs need `segments`"):
        next(PackedBatches(stream, Budget(2, 160, 15), made["model"], LOSSES["preference"]().collate))


def test_a_row_that_breaks_after_it_was_checked_is_named(made: dict[str, Any], tmp_path: Path) -> None:
    user = Message("user", audio=Audio(path=str(save(tmp_path / "a.wav", 1.0))))
    row = Record("a", None, (user, Message("assistant", "four")), None, "rows.jsonl", 3)
    found = source([row], Encode(**made))
    (tmp_path / "a.wav").unlink()
    with pytest.raises(InputError, match=r"row a \(rows\.jsonl:3\): missing_audio: .*run data_pipelines\.check"):
        next(PackedBatches(one_epoch("rows", found), Budget(1, 160, 12), made["model"], Sft().collate))
