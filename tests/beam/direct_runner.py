"""Preparation with Apache Beam's DirectRunner gives what processes give; `make test-beam` runs it."""

import json
from pathlib import Path
from typing import Any

import pytest
from toy_world import UNITS
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, spoken, write_jsonl

from data_pipelines.importers import release
from data_pipelines.prepare import cluster, local
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.prepare.settings import Settings, Source, WordFilter
from fac_jax.types import InputError

SETTINGS = Settings((("train", 3), ("dev", 1)), units=UNITS, words=WordFilter("recognisers:by_pitch", 0.5))


def row(name: str, *units: int, file: str = "a.wav") -> dict[str, Any]:
    audio = [heard(file, 1.0), spoken("hello", units or [1])]
    return {"id": name, **release_row(PLACEHOLDER, PLACEHOLDER, audio=audio)}


def data(folder: Path) -> list[Source]:
    save(folder / "a.wav", 1.0)
    save(folder / "b.wav", 1.0, rate=8_000)
    first = [row("twice", 99), b"{", row("twice", 2), row("lost", file="gone.wav"), row("twice", 3)]
    second = [*(row(f"row {i}", i % UNITS, file="b.wav") for i in range(40)), {"id": "pair", **preference_row()}]
    second += [row("other words"), {"id": "text", **release_row("hi", "hello", topic="greeting")}, row("twice", 4)]
    second[-3]["audio"][0] = heard("a.wav", 1.0, "good bye")
    files = {"one": first, "two": second}
    return [Source(str(write_jsonl(folder / f"{name}.jsonl", rows)), "release") for name, rows in files.items()]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Source], Path, Path]:
    folder = tmp_path_factory.mktemp("beam")
    given = data(folder)
    local.prepare(given, folder / "local", SETTINGS, 1)
    cluster.prepare(given, folder / "beam", SETTINGS, ["--runner=DirectRunner", "--direct_num_workers=1"])
    return given, folder / "local", folder / "beam"


def test_the_rows_are_the_same(both: tuple[list[Source], Path, Path]) -> None:
    _, *folders = both
    for split in ("train", "dev"):
        one, other = ({row.id: row for row in read_prepared(folder, split)} for folder in folders)
        assert one.keys() == other.keys() and len(one) > 2
        for name, record in one.items():
            assert release.export(record) == release.export(other[name])
            for audio, copy in zip(record.audios, other[name].audios, strict=True):
                assert (audio.wave is None) == (copy.wave is None)
                assert audio.wave is None or (audio.wave == copy.wave).all()


def test_quarantine_and_card_are_the_same(both: tuple[list[Source], Path, Path]) -> None:
    _, *folders = both
    one, other = (json.loads((folder / "card.json").read_text()) for folder in folders)
    for name in ("bytes", "checksum", "shards"):  # tfds shuffles the rows
        assert one.pop(name) and other.pop(name)
    assert one == other and one["dropped"]["word_errors"] == 1 and one["dropped"]["duplicate_id"] == 2
    lines, others = ((folder / "quarantine.jsonl").read_text() for folder in folders)
    assert lines == others and len(lines.splitlines()) == 6


def test_a_finished_folder_is_kept_and_held_to_its_manifest(both: tuple[list[Source], Path, Path]) -> None:
    given, _, out = both
    before = {file.name: file.stat().st_mtime_ns for file in out.iterdir()}
    card = cluster.prepare(given, out, SETTINGS, [])
    assert {file.name: file.stat().st_mtime_ns for file in out.iterdir()} == before
    assert card == json.loads((out / "card.json").read_text())
    with pytest.raises(InputError, match="was prepared with other settings: units was 16, is 9; give another --out"):
        cluster.prepare(given, out, Settings(SETTINGS.splits, units=9, words=SETTINGS.words), [])
