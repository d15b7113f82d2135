"""Lengths of prepared rows, against those of encoded rows."""

from pathlib import Path

import numpy as np
import pytest
from toy_world import UNITS, make_model, make_tokenizer
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, spoken, write_jsonl

from data_pipelines.augment.operations import Gain, Silence, Speed
from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.loading.encode import Encode
from data_pipelines.prepare import flac
from data_pipelines.prepare.lengths import Lengths, survey
from data_pipelines.prepare.local import prepare
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.prepare.settings import Settings, Source
from data_pipelines.records.validate import Limits
from fac_jax.batching.grid import windows_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    save(folder / "a.wav", 1.0)
    save(folder / "b.wav", 2.37, 44_100, 2)
    audio = [heard("b.wav", 2.37), spoken("one plus two", range(UNITS)), heard("a.wav", 1.0), spoken("three " * 9, [1])]
    rows = [
        release_row(PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, PLACEHOLDER, audio=audio, id="talk"),
        release_row("hi", PLACEHOLDER, audio=[spoken("yes", [UNITS])], id="of another codec"),
        release_row(f"{PLACEHOLDER}\nhi", "yes", audio=[heard("a.wav", 1.0)], id="heard"),
        release_row("hi", "hello", id="text"),
        preference_row(id="pair"),
    ]
    write_jsonl(folder / "rows.jsonl", rows)
    prepare([Source(str(folder / "rows.jsonl"), "release")], folder / "out", Settings(), 1)
    return folder


def test_lengths_are_those_of_encoded_rows(folder: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = make_model(tokenizer)
    found = survey(folder / "out", "train", Limits(60, model.units, tokenizer=tokenizer), model)
    assert found.pair.tolist() == [False] * 4 + [True]
    assert [(line["id"], line["reason"]) for line in found.refused] == [("of another codec", "token_range")]
    rows, kept = read_prepared(folder / "out", "train"), np.flatnonzero(found.length)
    assert kept.tolist() == [0, 2, 3, 4] and found.length.max() > 60
    make = Encode(tokenizer, model)
    items = [make(rows[i], 0) for i in kept]
    assert [len(item) for item in items] == found.length[kept].tolist()
    windows = [sum(windows_of(mel, model.audio.n_window) for mel in item.mels) for item in items]
    assert windows == found.windows[kept].tolist() and windows[-2] == 0 and items[-1].id == "pair"

    found.save(tmp_path / "new" / "lengths.npz")
    again = Lengths.load(tmp_path / "new" / "lengths.npz")
    np.testing.assert_array_equal(found.length, again.length)
    assert again.refused == found.refused and [p.name for p in (tmp_path / "new").iterdir()] == ["lengths.npz"]


def test_speed_changes_are_given_room(folder: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model, limits = make_model(tokenizer), Limits(units=UNITS, tokenizer=tokenizer)
    waves = WaveAugmentConfig(speed=Speed(1.0, (0.6, 0.61)), silence=Silence(1.0, (0.3, 0.31)))
    plain, found = (survey(folder / "out", "train", limits, model, one) for one in (WaveAugmentConfig(), waves))
    make, rows = Encode(tokenizer, model, waves=waves), read_prepared(folder / "out", "train")
    for i in (0, 2, 4):
        made = [make(rows[i], epoch) for epoch in range(4)]
        assert plain.length[i] < max(map(len, made)) <= found.length[i] <= max(map(len, made)) + 2
        windows = [sum(windows_of(mel, model.audio.n_window) for mel in item.mels) for item in made]
        assert max(windows) <= found.windows[i] <= max(windows) + 1
    same = survey(folder / "out", "train", limits, model, WaveAugmentConfig(gain=Gain()))
    np.testing.assert_array_equal(same.length, plain.length)


def test_flac_silence_has_the_length_of_the_file() -> None:
    wave = np.linspace(-0.5, 0.5, 12_345, dtype=np.float32)
    found = flac.silence(flac.encode(wave))
    assert found.shape == wave.shape and found.dtype == np.float32 and not found.any() and found.strides == (0,)
