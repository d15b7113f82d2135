"""Data on URLs: rows and audio are read from there, and what needs local files says so."""

import json
from pathlib import Path

import fsspec
import pytest
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem
from user_rows import encoded

from data_pipelines.importers.registry import read
from data_pipelines.paths import check_output, check_output_file, data_path, joined
from data_pipelines.prepare.local import prepare
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.prepare.settings import Settings, Source
from data_pipelines.records.record import Record
from data_pipelines.records.validate import Limits, validate
from fac_jax.types import InputError


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> MemoryFileSystem:
    """A bucket in memory behind every gs:// path."""
    files = fsspec.filesystem("memory", skip_instance_cache=True)
    files.store = {}
    monkeypatch.setattr(type(backend.fsspec_backend), "fs", lambda self, path: files)
    return files


def test_rows_and_audio_are_read_from_a_bucket(bucket: MemoryFileSystem, tmp_path: Path) -> None:
    rows = [{"audio": name, "text": "hello"} for name in ("sub/a.wav", "gs://other/b.wav", "gone.wav")]
    bucket.pipe("gs://data/rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    bucket.pipe("gs://data/rows.csv", b"audio,text\nsub/a.wav,hello\n")
    bucket.pipe("gs://data/sub/a.wav", encoded(1.0, 16_000, 1, "WAV"))
    bucket.pipe("gs://other/b.wav", encoded(0.5, 16_000, 1, "WAV"))
    one, other, gone = validate(read("gs://data/rows.jsonl"), Limits())
    assert isinstance(one, Record) and one.audios[0].path == "gs://data/sub/a.wav" and len(one.audios[0].wave) == 16_000
    assert isinstance(other, Record) and len(other.audios[0].wave) == 8_000
    assert gone.reason == "missing_audio" and "gs://data/gone.wav" in gone.detail
    (row,) = read("gs://data/rows.csv")
    assert row.audios[0].path == "gs://data/sub/a.wav"
    card = prepare([Source("gs://data/rows.jsonl", "manifest-jsonl")], tmp_path / "out", Settings(), 1)
    assert card["dropped"] == {"missing_audio": 1}


def test_local_files_are_asked_for_where_a_library_needs_them(bucket: MemoryFileSystem) -> None:
    bucket.pipe("gs://data/set/dataset_info.json", b"{}")
    for attempt in (
        lambda: list(read("gs://data/set")),
        lambda: read_prepared("gs://data/set", "train"),
        lambda: prepare([Source("README.md", "release")], "gs://data/out", Settings(), 1),  # pyright: ignore
    ):
        with pytest.raises(InputError, match="gs://data/.* local .*: copy it to a disk"):
            attempt()
    assert not Path("gs:").exists()


def test_paths_of_rows() -> None:
    assert joined("/data", "a.wav") == "/data/a.wav" and joined("gs://b/x", "a.wav") == "gs://b/x/a.wav"
    assert joined("gs://b", "/abs/a.wav") == "/abs/a.wav" and joined("/data", "gs://b/a.wav") == "gs://b/a.wav"
    assert isinstance(data_path("a/b"), Path)


def test_outputs_that_cannot_be_written_are_refused_and_nothing_is_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in ("", "/proc/x/y", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="--out"):
            check_output("--out", path)
    for path in (tmp_path, tmp_path / "reply.mp3"):
        with pytest.raises(InputError, match="--out"):
            check_output_file("--out", path, ".wav")
    check_output_file("--out", tmp_path / "new" / "reply.wav", ".wav")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
