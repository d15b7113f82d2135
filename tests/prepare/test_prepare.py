"""Round trips of records through prepared shards."""

import dataclasses
import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from toy_world import UNITS
from user_rows import PLACEHOLDER, encoded, heard, preference_row, release_row, save, spoken, tone, write_jsonl

from data_pipelines.importers import release
from data_pipelines.importers.registry import read
from data_pipelines.importers.rows import json_rows
from data_pipelines.prepare import flac
from data_pipelines.prepare.local import prepare
from data_pipelines.prepare.plan import split_of
from data_pipelines.prepare.reading import VERSION, read_prepared, to_columns, to_record
from data_pipelines.prepare.rows import Prepared
from data_pipelines.prepare.rows import prepare as prepare_rows
from data_pipelines.prepare.settings import Judge, Settings, Source, Tools, WordFilter
from data_pipelines.records.record import Audio, Message, Preference, Record
from data_pipelines.records.reject import Rejected
from data_pipelines.records.timing import Timing, TurnTiming
from data_pipelines.records.validate import Limits, validate
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.duplex.call import Event, EventKind
from fac_jax.types import InputError

ROWS = [
    {"id": "a", **release_row(PLACEHOLDER, PLACEHOLDER, audio=[heard("a.wav", 1.0), spoken("hi", [1, 0, 15], "gone")])},
    release_row(
        f"Listen: {PLACEHOLDER}\nwhat?", "ja", "text", PLACEHOLDER, audio=[heard("a.wav", 1), spoken("ü", [7])]
    ),
    release_row("hi", "hello", topic="greeting \ud800", weight=0.5),
    {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]},
    release_row("x", PLACEHOLDER, audio=[json.dumps({"token": "<|audio_bos|>[AU0001]", "text": "a", "ref_text": "b"})]),
    release_row(PLACEHOLDER, "yes", audio=[spoken("", [1, 2], path="gone.wav")]),
    preference_row(),
    {"id": 7, "system": "", **{key: preference_row()[key] for key in ("messages", "audio", "chosen", "rejected")}}
    | {key: {"role": "assistant", "content": key} for key in ("chosen", "rejected")}
    | {"task": "robustness"},
]


def sources(folder: Path, rows: list[Any], format: str = "release") -> list[Source]:
    save(folder / "a.wav", 1.0)
    encodable = [json.dumps(row).encode() if isinstance(row, dict) else row for row in rows]
    return [Source(str(write_jsonl(folder / "rows.jsonl", encodable)), format)]


def same(one: Any, other: Any) -> bool:
    """Whether two records say the same, arrays bit for bit."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return type(one) is type(other) and one.dtype == other.dtype and np.array_equal(one, other)
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(one))
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `ROWS` in rows.jsonl, and prepared in out."""
    folder = tmp_path_factory.mktemp("prepared")
    card = prepare(sources(folder, ROWS), folder / "out", Settings(units=UNITS, rows_per_shard=3), 1)
    assert card["dropped"] == {}
    return folder


def test_release_rows_round_trip_as_json(prepared: Path) -> None:
    found = read_prepared(prepared / "out", "train")
    rows = [row for _, row in json_rows(prepared / "rows.jsonl")]  # pyright: ignore  (all are rows)
    assert [release.export(record) for record in found] == rows == json.loads(json.dumps(ROWS))


def test_records_round_trip(prepared: Path) -> None:
    rows = validate(read(prepared / "rows.jsonl", "release"), Limits(units=UNITS))
    wanted = [row for row in rows if isinstance(row, Record)]
    found = read_prepared(prepared / "out", "train")
    assert len(found) == len(wanted) == len(ROWS)
    assert all(map(same, found, wanted)), "16 kHz of 16 bits are kept bit for bit"
    assert not same(found[0], wanted[1]), "the comparison can fail"


def test_every_field_of_the_schema_is_stored() -> None:
    ids, wave = np.array([3, 4], np.int32), np.float32([0.5, -1.0, 0.25])
    full = Audio(None, "p/q.wav", "q.wav", wave, 44_100, ids, 9, 0.1, 7.3, "words \udcff", 1)
    bare = Audio(tokens=np.zeros(0, np.int32))
    messages = (Message("user", "t", full, "l"), Message("assistant", "", bare), Message("user", "again"))
    sides = (Message("assistant", "yes", bare), Message("assistant", "no", full))
    event = Event(EventKind.STOP, 3, 9, "ü", 0)
    timing = Timing(7, 2, (TurnTiming(1, 4, True), TurnTiming(5, 7)), (event,))
    for system, original, preference in ((None, None, None), ("", "", Preference("empathy", *sides))):
        clock = timing if preference is None else None
        record = Record("ü", system, messages, preference, "f.jsonl", 2**40, original, clock)
        flacs = tuple(b"" if audio.wave is None else flac.encode(audio.wave) for audio in record.audios)
        stored = to_columns(Prepared(record, flacs))
        assert same(to_record(stored), record)


def test_random_access(prepared: Path) -> None:
    found = read_prepared(prepared / "out", "train")
    ids = [row.id for row in found]
    assert ids[:2] == ["a", "rows:2"] and ids[-1] == "7"
    assert [found[i].id for i in (5, 0, -1)] == [ids[5], ids[0], ids[-1]]
    assert [row.id for row in found[1:4]] == ids[1:4]
    assert pickle.loads(pickle.dumps(found))[4].id == ids[4]
    with pytest.raises(IndexError):
        found[len(found)]


def test_flac_clips_loud_waves_and_keeps_16_bits() -> None:
    wave = np.array([0.0, 1.5, -1.5, 32767 / 32768, -1.0, 12345 / 32768], np.float32)
    kept = flac.as_stored(wave)
    np.testing.assert_array_equal(kept * 32768, [0, 32767, -32768, 32767, -32768, 12345])
    np.testing.assert_array_equal(flac.decode(flac.encode(wave)), kept)
    info = soundfile.info(__import__("io").BytesIO(flac.encode(wave)))
    assert (info.format, info.subtype, info.samplerate, info.channels) == ("FLAC", "PCM_16", 16_000, 1)


def make_codec(folder: Path) -> UnitCodec:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    codec = UnitCodec.fit([noise], UnitCodecConfig(units=8))
    codec.save(folder)
    return codec


def test_tokens_are_those_of_the_stored_waves(tmp_path: Path) -> None:
    codec = make_codec(tmp_path / "codec")
    for name, seconds in (("b", 0.5), ("c", 0.3), ("d", 0.8)):
        save(tmp_path / f"{name}.flac", seconds, rate=24_000, channels=2, format="FLAC")
    rows = [release_row("x", PLACEHOLDER, audio=[json.dumps({"text": n, "ref_path": f"{n}.flac"})]) for n in "bcd"]
    given = sources(tmp_path, [*rows, release_row("x", PLACEHOLDER, audio=[spoken("k", [1, 2])])])
    prepare(given, tmp_path / "out", Settings(codec=str(tmp_path / "codec")), 1)
    found = [record.messages[1].audio for record in read_prepared(tmp_path / "out", "train")]
    for audio, seconds in zip(found, (0.5, 0.3, 0.8), strict=False):
        np.testing.assert_array_equal(audio.tokens, codec.encode(audio.wave))
        assert len(audio.tokens) == int(25 * seconds)
    assert found[3].tokens.tolist() == [1, 2], "tokens that a row brings are kept"
    with pytest.raises(InputError, match=r"rows\.jsonl:1: row rows:1: the assistant's audio has no tokens; name"):
        prepare(given, tmp_path / "none", Settings(), 1)


def said(wave: np.ndarray, text: str, name: str, role: str = "user") -> Record:
    user, reply = Message("user", "say it"), Message("assistant", "ok")
    if role == "user":
        user = Message("user", "", Audio(wave=wave, transcript=text))
    else:
        reply = Message("assistant", text, Audio(wave=wave, tokens=np.zeros(25, np.int32)))
    return Record(name, None, (user, reply), None, "f", 1)


def test_word_error_filter() -> None:
    hello, noise = tone(1.0)[:, 0], np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    rows = [
        said(hello, "Hello!", "right"),
        said(noise, "hello", "wrong"),
        said(noise, "", "nothing to be heard"),
        said(hello, "hello", "reply", "assistant"),
        said(hello, "hello there you", "half", "assistant"),
    ]
    words = WordFilter("recognisers:by_pitch", 0.5)

    def kept(**changes: Any) -> list[str | None]:
        judge = Judge(dataclasses.replace(words, **changes))
        found = prepare_rows(rows, Tools(Limits(units=UNITS), None, judge))
        return [row.id if isinstance(row, Rejected) else None for row in found]

    assert kept() == [None, "wrong", None, None, "half"]
    assert kept(most=0.7) == [None, "wrong", None, None, None]
    assert kept(speakers=("assistant",)) == [None, None, None, None, "half"]
    (bad,) = prepare_rows(rows[1:2], Tools(Limits(units=UNITS), None, Judge(words)))
    assert bad == Rejected("word_errors", "word error rate 1.00, kept up to 0.5", "f", 1, "wrong")
    with pytest.raises(InputError, match="recogniser recognisers:deaf heard 0 texts in 1 waves"):
        prepare_rows(rows[:1], Tools(Limits(), None, Judge(WordFilter("recognisers:deaf", 0.5))))


@pytest.mark.parametrize("name", ["recognisers", "recognisers:none", "no_such_module:f", ":f"])
def test_missing_recogniser_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"recogniser '{name}' cannot be imported .*write module:function"):
        Judge(WordFilter(name, 0.1))


def test_scoring_by_letters() -> None:
    judge = Judge(WordFilter("recognisers:slow", 0.1, scoring="letters"))
    judge._hear = lambda waves: ["你好吗"] * len(waves)
    assert judge.rates([np.zeros(9, np.float32)], ["你好啊"]) == [pytest.approx(1 / 3)]
    with pytest.raises(InputError, match="unknown scoring 'bits'; known: english"):
        Judge(WordFilter("recognisers:slow", 0.1, scoring="bits"))


def test_splits_are_decided_by_ids(tmp_path: Path) -> None:
    rows = [{"id": f"row {i}", **release_row("hi", f"hello {i}")} for i in range(200)]
    weights = (("train", 8), ("dev", 1), ("test", 1))
    card = prepare(sources(tmp_path, rows), tmp_path / "out", Settings(weights, rows_per_shard=50), 1)
    found = {split: [row.id for row in read_prepared(tmp_path / "out", split)] for split, _ in weights}
    assert sorted(sum(found.values(), [])) == sorted(row["id"] for row in rows)
    assert {split: len(ids) for split, ids in found.items()} == card["rows"]
    assert 140 <= len(found["train"]) <= 180 and len(found["dev"]) > 5 and len(found["test"]) > 5
    record = Record("row 3", None, (), None, "elsewhere", 9)
    assert "row 3" in found[split_of(record, weights)], "a row's split is that of its id in any data set"


def test_tfds_reads_the_folder(prepared: Path) -> None:
    builder = tfds.builder_from_directory(prepared / "out")
    assert builder.info.splits["train"].num_examples == len(ROWS) and str(builder.info.version) == VERSION


def test_folder_that_is_not_prepared_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no dataset_info\.json: run python -m data_pipelines\.prepare to its end"):
        read_prepared(tmp_path, "train")
    shutil.copytree(prepared / "out", tmp_path / "out")
    with pytest.raises(InputError, match="no split 'dev'; it has train"):
        read_prepared(tmp_path / "out", "dev")
    info = tmp_path / "out" / "dataset_info.json"
    info.write_text(info.read_text().replace(f'"{VERSION}"', '"2.0.0"'))
    with pytest.raises(InputError, match=rf"prepared under schema 2\.0\.0, this version reads {re.escape(VERSION)}"):
        read_prepared(tmp_path / "out", "train")


def test_bytes_in_a_row_are_stored_as_flac(tmp_path: Path) -> None:
    data = encoded(1.0, 8_000, 2, "WAV")
    record = Record("x", None, (Message("user", "", Audio(data=data)), Message("assistant", "ok")), None, "f", 1)
    (row,) = prepare_rows([record], Tools(Limits(), None, None))
    audio = to_record(to_columns(row)).messages[0].audio
    assert audio.data is None and audio.wave.shape == (16_000,)
