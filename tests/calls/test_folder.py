"""Sets of calls as they are written, read back, prepared and encoded, with every reply cut on the borders of groups."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from spoken_dialogues import EXTRAS, exchange
from toy_world import UNITS, LoudnessCodec

from data_pipelines.duplex.dialogue import Dialogue
from data_pipelines.duplex.events import EventsConfig, Interruption, Quiet
from data_pipelines.duplex.folder import write_calls
from data_pipelines.duplex.make import CallsConfig, make_call
from data_pipelines.importers.registry import format_of, read
from data_pipelines.loading.encode import LATEST, Encode, user_waves
from data_pipelines.loading.loader import PackedBatches
from data_pipelines.loading.sources import Source, items_as_source, mixture
from data_pipelines.prepare import flac
from data_pipelines.prepare.lengths import survey
from data_pipelines.prepare.reading import to_columns, to_record
from data_pipelines.prepare.rows import prepare
from data_pipelines.prepare.settings import Tools
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Message, Record
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.validate import Limits, validate
from fac_jax.batching.conversation import StoredFeatures
from fac_jax.batching.feature_store import FeatureStore, digest
from fac_jax.batching.packing import Budget
from fac_jax.duplex.call import SLOT
from fac_jax.duplex.layout import prompt_ids, read_turns
from fac_jax.losses import Duplex
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, Kind

CONFIG = CallsConfig(events=EventsConfig(interruption=Interruption(0.9), quiet=Quiet(0.0)))
DIALOGUES = [
    Dialogue(name, (exchange(answered=3.0), exchange(answered=1.4), exchange(answered=1.2)), extras=EXTRAS)
    for name in ("a", "b", "c")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    assert write_calls(folder, DIALOGUES, 3, CONFIG, "wav", threads=2) == []
    return folder


@pytest.fixture
def duplex(model: ModelConfig) -> ModelConfig:
    return replace(model, duplex=DuplexConfig(sinks=200, loudest_floor=0.0, stream="block"))


def records(folder: Path) -> list[Record]:
    found = list(validate(read(folder), Limits(units=UNITS)))
    assert all(isinstance(row, Record) for row in found), found
    return found  # pyright: ignore[reportReturnType]


def changed(folder: Path, to: Path, change: Callable[[dict[str, Any]], None]) -> list[Record | Rejected]:
    """The rows of a set whose first call was changed."""
    first, *rest = (folder / "calls.jsonl").read_text().splitlines()
    row = json.loads(first)
    change(row)
    for name in ("audio", "replies"):
        (to / name).symlink_to(folder / name)
    (to / "calls.jsonl").write_text("\n".join([json.dumps(row), *rest]))
    return list(validate(read(to), Limits(units=UNITS)))


def test_what_is_written_is_read_back(folder: Path) -> None:
    assert format_of(folder, None) == "calls" == format_of(folder / "calls.jsonl", None)
    for dialogue, record in zip(DIALOGUES, records(folder), strict=True):
        made, timing = make_call(dialogue, CONFIG), record.timing
        assert made is not None and timing is not None
        assert (record.id, record.system, timing.slots) == (made.id, made.system, made.line.slots)
        assert timing.events == made.line.events
        slots = [(turn.opening, turn.closing, turn.cut) for turn in timing.turns]
        assert slots == [(turn.opening, turn.closing, turn.cut) for turn in made.line.turns]
        channel, *replies = record.audios
        assert channel.wave is not None
        np.testing.assert_array_equal(channel.wave, flac.as_stored(made.user))
        for audio, turn in zip(replies, made.line.turns, strict=True):
            assert audio.wave is not None
            np.testing.assert_array_equal(audio.wave, flac.as_stored(turn.reply.wave))  # whole, also where it is cut


def test_both_channels_are_equally_long_and_threads_change_nothing(folder: Path, tmp_path: Path) -> None:
    write_calls(tmp_path, DIALOGUES, 3, CONFIG, "flac", threads=1)
    lines = (folder / "calls.jsonl").read_text()
    assert (tmp_path / "calls.jsonl").read_text() == lines.replace(".wav", ".flac")
    for row in map(json.loads, lines.splitlines()):
        one, rate = soundfile.read(folder / row["audio"], dtype="int16")
        other, _ = soundfile.read(tmp_path / f"audio/{row['id']}.flac", dtype="int16")
        assert rate == 16_000 and one.shape == (row["slots"] * SLOT, 2)
        np.testing.assert_array_equal(one, other)


def test_codes_of_a_reply_are_computed_once_and_cut(folder: Path, tokenizer: Tokenizer, duplex: ModelConfig) -> None:
    """From a file to a row of a batch: the groups of a turn that is cut are the first ones of the whole reply."""
    codec, cuts = LoudnessCodec(), 0
    tools = Tools(Limits(units=UNITS, tokenizer=tokenizer), codec, None)  # pyright: ignore[reportArgumentType]
    for row in prepare(list(read(folder)), tools):
        assert not isinstance(row, Rejected)
        record = to_record(to_columns(row))
        assert record.timing == row.record.timing and record.timing is not None
        example = Encode(tokenizer, duplex)(record, 0)
        before = len(prompt_ids(record.system or "", tokenizer))
        assert len(example) == before + record.timing.slots
        found = read_turns(example.text_ids[before:], example.speech_ids[before:], duplex.special)
        for turn, timed, message in zip(found, record.timing.turns, record.messages[1:], strict=True):
            assert message.audio is not None and message.audio.tokens is not None and message.audio.wave is not None
            (whole,) = codec.encode_batch([message.audio.wave])
            np.testing.assert_array_equal(message.audio.tokens, whole)
            np.testing.assert_array_equal(turn.groups.reshape(-1), whole[: turn.groups.size])
            ids = tokenizer.encode(message.text)
            assert list(turn.text_ids) == ids[: timed.closing - timed.opening - 1]
            assert timed.cut or turn.groups.size >= len(whole)
            cuts += timed.cut
    assert cuts >= 2


def test_without_texts_turns_keep_their_speech(folder: Path, tokenizer: Tokenizer, duplex: ModelConfig) -> None:
    assert duplex.duplex is not None
    silent = replace(duplex, duplex=dataclasses.replace(duplex.duplex, texts=False))
    record = prepared(folder, tokenizer)[0]
    spoken, mute = (Encode(tokenizer, model)(record, 0) for model in (duplex, silent))
    talking = spoken.kind == Kind.JOINT
    assert (mute.text_ids[talking] == duplex.special.sil).all() and (mute.labels[talking] == duplex.special.sil).all()
    assert (spoken.text_ids[talking] != duplex.special.sil).any()
    for name in ("kind", "speech_ids", "speech_labels", "frame_index"):
        np.testing.assert_array_equal(getattr(mute, name), getattr(spoken, name))
    np.testing.assert_array_equal(mute.labels[~talking], spoken.labels[~talking])


def test_a_call_is_measured_as_it_is_encoded(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer, duplex: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = records(folder)
    monkeypatch.setattr("data_pipelines.prepare.lengths.read_prepared", lambda *_: calls)
    limits = Limits(units=UNITS, tokenizer=tokenizer)
    lengths = survey(tmp_path, "train", limits, duplex)
    timings = [record.timing for record in calls]
    for i, timing in enumerate(timings):
        assert timing is not None
        assert lengths.length[i] == limits.positions_of(calls[i]) and lengths.windows[i] == -(-timing.slots // 2)
    later = survey(tmp_path, "train", limits, replace(duplex, delay_groups=1))
    assert not later.length.any() and "2 groups of delay, those of the model 1" in later.refused[0]["detail"]


def test_stored_features_take_the_place_of_log_mels(
    folder: Path, tmp_path: Path, tokenizer: Tokenizer, duplex: ModelConfig
) -> None:
    record = prepared(folder, tokenizer)[0]
    example = Encode(tokenizer, duplex, stored=(stored(tmp_path, record),))(record, 0)
    assert isinstance(example.mels[0], StoredFeatures) and len(example.mels) == 1
    slide = replace(duplex, duplex=dataclasses.replace(duplex.duplex, stream="slide"))
    heard = Encode(tokenizer, slide)(record, 0)
    assert record.timing is not None and len(heard.mels) == record.timing.slots


def stored(folder: Path, record: Record) -> FeatureStore:
    """A store of zeros for the user's channel of a call."""
    (wave,) = user_waves(record)
    store = FeatureStore(folder)
    windows = np.zeros((-(-len(wave) // SLOT // 2), 10, 16), np.float16)
    store.write({digest(wave): StoredFeatures(windows, len(wave))})
    return store


def prepared(folder: Path, tokenizer: Tokenizer) -> list[Record]:
    tools = Tools(Limits(units=UNITS, tokenizer=tokenizer), LoudnessCodec(), None)  # pyright: ignore
    return [row.record for row in prepare(list(read(folder)), tools) if not isinstance(row, Rejected)]


def test_a_tenth_of_calls_begin_later(folder: Path, tmp_path: Path, tokenizer: Tokenizer, duplex: ModelConfig) -> None:
    record = prepared(folder, tokenizer)[0]
    stores = (stored(tmp_path, record),) * 60
    starts = []
    for epoch in range(60):
        positions = Encode(tokenizer, duplex, seed=1, stored=stores)(record, epoch).positions
        assert positions is not None
        starts.append(int(np.diff(positions).max()) - 1)
    late = [start for start in starts if start]
    assert 1 <= len(late) <= 15 and max(late) <= LATEST and len(set(late)) == len(late)


def test_calls_and_conversations_share_batches(folder: Path, tokenizer: Tokenizer, duplex: ModelConfig) -> None:
    """Through the loader, as one more kind of row."""
    make = Encode(tokenizer, duplex)
    talks = [
        Record(name, None, (Message("user", "one plus one"), Message("assistant", "two")), None, "rows.jsonl", 1)
        for name in ("x", "y")
    ]
    sources = {}
    for name, rows in {"calls": prepared(folder, tokenizer), "talks": talks}.items():
        items = items_as_source([make(row, 0) for row in rows], duplex.n_window)
        sources[name] = Source(rows, make, items.length, items.windows)
    stream = mixture(sources, {"calls": 0.6, "talks": 0.4}, 0)
    batches = PackedBatches(stream, Budget(2, 400, 100), duplex, Duplex().collate)
    seen = set()
    for _ in range(3):
        loaded: Any = next(batches)
        batch, kinds = loaded.batch, set(loaded.row_ids)
        assert batch.beside.shape == batch.text_ids.shape == (2, 400)
        assert batch.beside.any() == bool(kinds & {"a", "b", "c"})
        seen |= kinds
    assert seen == {"a", "b", "c", "x", "y"}


def test_a_model_without_duplex_takes_no_calls(folder: Path, tokenizer: Tokenizer, model: ModelConfig) -> None:
    with pytest.raises(InputError, match="row a is a call"):
        Encode(tokenizer, model)(records(folder)[0], 0)


FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], Reason, str]] = {
    "slots": (lambda row: row.update(slots=row["slots"] + 1), Reason.CALL, "the user's channel has"),
    "order": (lambda row: row["turns"][0].update(opening=0, closing=0), Reason.CALL, "turn 0 takes the slots 0 to 0"),
    "longer": (
        lambda row: row["turns"][-1].update(text="one two three " * 30, cut=False), Reason.CALL, "text ids for its"
    ),
    "groups": (
        lambda row: [turn.update(cut=False) for turn in row["turns"]], Reason.CALL, "groups of speech, and is heard in"
    ),
    "event": (lambda row: row["events"][0].update(end=10**9), Reason.CALL, "is not within the call"),
    "of turn": (lambda row: row["events"][0].update(turn=99), Reason.CALL, "names turn 99, which is not there"),
    "unknown": (lambda row: row["events"][0].update(kind="cough"), Reason.CALL, "unknown event 'cough'"),
    "number": (lambda row: row.update(slots=1.5), Reason.WRONG_TYPE, "slots is 1.5"),
    "missing": (lambda row: row.pop("delay_groups"), Reason.MISSING_KEY, "'delay_groups' is missing"),
    "flag": (lambda row: row["turns"][0].update(cut="yes"), Reason.WRONG_TYPE, "cut must be true or false"),
    "file": (lambda row: row.update(audio="audio/none.wav"), Reason.MISSING_AUDIO, "none.wav"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_annotations_that_do_not_fit_are_one_line(case: str, folder: Path, tmp_path: Path) -> None:
    change, reason, message = FAULTS[case]
    bad, *good = changed(folder, tmp_path, change)
    assert isinstance(bad, Rejected) and bad.reason == reason and message in bad.detail and "\n" not in bad.detail
    assert bad.id == "a" and all(isinstance(row, Record) for row in good)


@pytest.mark.parametrize(("rate", "samples", "message"), [
    (8000, 4000, "channels of other rates: u.wav has 16000 Hz, v.wav 8000"),
    (16000, 9, "channels of other lengths: u.wav has 8000 samples, v.wav 9"),
])  # fmt: skip
def test_channels_in_two_files_must_be_alike(
    rate: int, samples: int, message: str, folder: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "u.wav", np.zeros(8000), 16000)
    soundfile.write(tmp_path / "v.wav", np.zeros(samples), rate)
    bad, *_ = changed(folder, tmp_path, lambda row: row.update(audio={"user": "u.wav", "assistant": "v.wav"}))
    assert isinstance(bad, Rejected) and bad.reason == Reason.CALL and message in bad.detail


def test_a_turn_without_a_reply_is_what_the_channel_holds(folder: Path, tmp_path: Path) -> None:
    """A file of one channel has no assistant."""
    plain, *_ = changed(folder, tmp_path, lambda row: [turn.pop("reply") for turn in row["turns"]])
    assert isinstance(plain, Record) and plain.timing is not None
    wave, _ = soundfile.read(folder / "audio/a.wav", dtype="float32")
    for audio, turn in zip(plain.audios[1:], plain.timing.turns, strict=True):
        want = wave[plain.timing.audible(turn) * SLOT : turn.closing * SLOT, 1]
        assert audio.wave is not None
        np.testing.assert_array_equal(audio.wave, want)
    soundfile.write(tmp_path / "mono.wav", wave[:, 0], 16000)
    mono = dataclasses.replace(plain.audios[1], path=str(tmp_path / "mono.wav"), wave=None)
    reply = dataclasses.replace(plain.messages[1], audio=mono)
    with pytest.raises(Exception, match="has 1 channel, channel 2 is asked for"):
        with_waves(dataclasses.replace(plain, messages=(plain.messages[0], reply)))
