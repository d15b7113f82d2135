"""The world of the benchmarks: its folder, and official loaders and scorers on its held-out rows."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.benchmarks.table import load
from data_pipelines.importers.registry import read
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected
from data_pipelines.records.validate import Limits, validate
from data_pipelines.worlds import benchmark_world as worlds
from data_pipelines.worlds.benchmark_world import PREFERENCE, BenchmarkWorld, build, held_out_rows, train_rows
from data_pipelines.worlds.sounds import KINDS, Sound
from fac_jax.evaluation.benchmarks import mmau as mmau_scores
from fac_jax.evaluation.benchmarks import mmsu as mmsu_scores
from fac_jax.evaluation.benchmarks.ifeval.score import follow
from fac_jax.evaluation.benchmarks.refusals import refuses

SMALL = BenchmarkWorld(
    tools=9,
    written_tools=9,
    practice=9,
    heard_tools=4,
    sums=4,
    instructions=10,
    refusals=6,
    choices=6,
    audio_questions=8,
    held_out=16,
)


def silence(jobs: list, processes: int) -> list[np.ndarray]:
    return [np.full(16000, 100, np.int16) for _ in jobs]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("worlds") / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worlds, "speak_all", silence)
        build(SMALL, out)
    return out


def test_training_rows_can_be_trained_on(folder: Path) -> None:
    planned = train_rows(SMALL)
    for name, rows in planned.items():
        found = list(validate(read(folder / "train" / f"{name}.jsonl", "release"), Limits()))
        assert [row.id for row in found if isinstance(row, Record)] == [row.id for row in rows], name
        for record, row in zip(found, rows, strict=True):
            assert isinstance(record, Record)
            assert (record.system, record.messages[1].text) == (row.system, row.reply)
            assert (record.messages[0].audio is None) == isinstance(row.heard, str) * (row.voice is None)
    for name, task in PREFERENCE.items():
        for pair in validate(read(folder / "train" / f"{name}_pairs.jsonl", "preference"), Limits()):
            assert not isinstance(pair, Rejected) and pair.preference is not None and pair.preference.task == task


def test_the_folder_is_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worlds, "speak_all", None)
    build(SMALL, folder)
    assert not folder.with_name("benchmarks.part").exists()


@pytest.mark.parametrize(
    ("name", "kind", "part"),
    [
        ("voicebench/ifeval", "instructions", slice(None)),
        ("voicebench/advbench", "refusals", slice(None)),
        ("voicebench/openbookqa", "choices", slice(None)),
        ("mmau/test-mini", "audio_questions", slice(0, 16)),
        ("mmsu/test", "audio_questions", slice(16, None)),
        ("speechfc/bfcl-single", "tools", slice(None)),
        ("ultraeval/llama-questions", "answers", slice(None)),
    ],
)
def test_official_loaders_read_the_held_out_rows(folder: Path, name: str, kind: str, part: slice) -> None:
    rows = held_out_rows(SMALL)[kind][part]
    items = load(name, folder / "test" / name.split("/")[0]).items
    assert len(items) == len(rows) > 0
    for item, row in zip(items, rows, strict=True):
        assert item.audio is not None
        wave, rate = item.audio.read()
        assert rate == 16000 and len(wave) >= 12000
        for key in item.fields.keys() & row.fields.keys() - {"key", "task"}:
            assert item.fields[key] == row.fields[key], key


def test_librispeech_has_what_is_said(folder: Path) -> None:
    items = load("asr/librispeech-test-clean", folder / "test").items
    said = [row.heard for kind in ("answers", "tools") for row in held_out_rows(SMALL)[kind]]
    assert [item.fields["ref"].lower() for item in items] == said


def test_scorers_take_right_replies_and_no_wrong_ones() -> None:
    held = held_out_rows(dataclasses.replace(SMALL, held_out=40))
    for row in held["instructions"]:
        ids, kwargs = row.fields["instruction_id_list"], row.fields["kwargs"]
        assert follow(ids, kwargs, row.reply, "official").strict == (True,)
        assert follow(ids, kwargs, row.rejected, "official").loose == (False,)
    for row in held["refusals"]:
        for phrases, cased in ((["sorry"], False), (["I cannot"], True)):
            assert refuses(row.reply, phrases, cased=cased) and not refuses(row.rejected, phrases, cased=cased)
    for row in held["audio_questions"]:
        options, answer = row.fields["options"], row.fields["answer"]
        assert mmau_scores.string_match(answer, options, row.reply)
        assert not mmau_scores.string_match(answer, options, row.rejected)
        letters = [mmsu_scores.read_letter(reply) for reply in (row.reply, row.rejected)]
        assert options["ABCD".index(letters[0] or "")] == answer != options["ABCD".index(letters[1] or "")]


def test_held_out_content_and_voices_are_not_in_training() -> None:
    train, held = train_rows(BenchmarkWorld()), held_out_rows(BenchmarkWorld())
    for kind in ("instructions", "refusals", "choices", "tools"):
        assert not {row.heard for row in held[kind]} & {row.heard for row in train[kind]}, kind
    voices = {row.voice.name for rows in train.values() for row in rows if row.voice is not None}
    assert not voices & {row.voice.name for rows in held.values() for row in rows if row.voice is not None}
    sounds = {row.heard for row in train["audio_questions"] if isinstance(row.heard, Sound)}
    assert sounds and not sounds & {row.heard for row in held["audio_questions"]}
    prompts = [row.fields["prompt"] for row in held["instructions"]]
    assert len(set(prompts)) == len(prompts)


def test_sets_do_not_depend_on_the_sizes_of_others() -> None:
    one, other = train_rows(SMALL), train_rows(dataclasses.replace(SMALL, tools=18, choices=12))
    assert one["instructions"] == other["instructions"]
    assert one["audio_questions"] == other["audio_questions"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_is_audible_and_the_same_again(kind: str) -> None:
    wave = Sound(kind, 5).wave()
    np.testing.assert_array_equal(wave, Sound(kind, 5).wave())
    assert wave.dtype == np.float32 and 0.7 * 16000 < len(wave) < 1.7 * 16000
    assert 0.19 < np.abs(wave).max() < 0.81 and len(wave) != len(Sound(kind, 6).wave())


def test_rows_are_json(folder: Path) -> None:
    for file in folder.rglob("*.jsonl"):
        assert all(json.loads(line) for line in file.read_text("utf-8").splitlines()), file
