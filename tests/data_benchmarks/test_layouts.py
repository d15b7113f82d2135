"""Every benchmark in every layout: the rows become the same fields, and their audio is read when it is asked for."""

import collections
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from benchmark_rows import sample_rows, sample_waves
from benchmark_sets import LAYOUTS, write_set

from data_pipelines.benchmarks.items import AudioCell, AudioFile, require_audio
from data_pipelines.benchmarks.table import BENCHMARKS, load

CASES = [(name, layout) for name in BENCHMARKS for layout in LAYOUTS[name.partition("/")[0]]]
LOSSY = 0.1  # of MP3, whose encoder also shifts the wave


@pytest.mark.parametrize(("name", "layout"), CASES)
def test_a_layout_gives_the_rows_and_their_audio(name: str, layout: str, tmp_path: Path) -> None:
    rows, waves = sample_rows(name), sample_waves()
    found = load(name, write_set(tmp_path, name, rows, waves, layout))
    assert [item.fields for item in found.items] == rows
    assert (found.rows, found.expected, found.left_out) == (2, BENCHMARKS[name].expected, {})
    require_audio(found.items)
    assert len({item.id for item in found.items}) == 2
    assert found == load(name, tmp_path)
    for item, wave in zip(found.items, waves, strict=True):
        assert item.audio is not None
        heard, rate = item.audio.read()
        assert (rate, heard.dtype, heard.ndim) == (16_000, np.float32, 1)
        if isinstance(item.audio, AudioFile) and item.audio.path.suffix == ".mp3":
            assert abs(np.std(heard) - np.std(wave)) < LOSSY
        else:
            np.testing.assert_allclose(heard, wave, atol=1e-3)
        assert len(item.audio.read(8_000)[0]) == pytest.approx(len(heard) / 2, abs=1)


def test_layouts_of_one_benchmark_give_the_same_ids(tmp_path: Path) -> None:
    ids = set()
    for layout in ("evalkit", "parquet", "audiofolder"):
        root = write_set(
            tmp_path / layout, "voicebench/ifeval", sample_rows("voicebench/ifeval"), sample_waves(), layout
        )
        ids.add(tuple(item.id for item in load("voicebench/ifeval", root).items))
    assert ids == {("0", "1")}


@pytest.mark.parametrize(
    ("name", "layout", "first"),
    [
        ("openaudiobench/alpaca_eval", "csv", "clip_0.mp3"),
        ("mmau/test-mini", "json", "row-0"),
        ("mmau/test-mini", "parquet", "row-0"),
        ("asr/librispeech-test-other", "archive", "61-70968-0000"),
        ("asr/common-voice-en", "archive", "cv_0"),
        ("vstyle/zh", "audiofolder", "i0"),
    ],
)
def test_an_id_is_that_of_the_data_set(name: str, layout: str, first: str, tmp_path: Path) -> None:
    root = write_set(tmp_path, name, sample_rows(name), sample_waves(), layout)
    assert load(name, root).items[0].id == first


def test_audio_is_not_read_with_the_rows(tmp_path: Path) -> None:
    name = "speechfc/bfcl-single"
    write_set(tmp_path, name, sample_rows(name), sample_waves(), "jsonl")
    for file in tmp_path.rglob("*.wav"):
        file.write_bytes(b"damaged")
    assert len(load(name, tmp_path).items) == 2


def test_rows_with_several_audio_files_are_left_out_and_named(tmp_path: Path) -> None:
    name = "mmau-pro/test"
    single, several = sample_rows(name)
    write_set(tmp_path, name, [single, {**several, "audio_count": 2}], sample_waves(), "parquet")
    found = load(name, tmp_path)
    assert [item.id for item in found.items] == ["row-0"]
    assert (found.rows, found.left_out) == (2, {"row-1": "several audio files"})


def test_the_splits_of_voicebench_mmsu_are_one_set(tmp_path: Path) -> None:
    name = "voicebench/mmsu"
    write_set(tmp_path, name, sample_rows(name), sample_waves(), "parquet")
    law = tmp_path / "mmsu" / "law-00000-of-00001.parquet"
    (tmp_path / "mmsu" / "biology-00000-of-00001.parquet").write_bytes(law.read_bytes())
    found = load(name, tmp_path)
    assert [item.id for item in found.items] == ["0", "1", "2", "3"]
    assert isinstance(found.items[0].audio, AudioCell) and "biology" in found.items[0].audio.file.name


def test_equal_ids_are_told_apart(tmp_path: Path) -> None:
    name = "speechfc/bfcl-single"
    rows = [{**row, "index": 7} for row in sample_rows(name)]
    assert [i.id for i in load(name, write_set(tmp_path, name, rows, sample_waves(), "jsonl")).items] == ["7", "7#2"]


def test_a_cell_without_bytes_names_a_file(tmp_path: Path) -> None:
    name = "ultraeval/llama-questions"
    write_set(tmp_path, name, sample_rows(name), sample_waves(), "audiofolder")
    (tmp_path / "llama-questions" / "metadata.jsonl").unlink()
    cells = [{"bytes": None, "path": "clip_1.wav"}, {"bytes": None, "path": None}]
    file = tmp_path / "llama-questions" / "data" / "test-00000-of-00001.parquet"
    audio = pyarrow.array(cells, pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}))
    pyarrow.parquet.write_table(pyarrow.table({"Answer": ["a", "b"], "audio": audio}), file)
    first, second = load(name, tmp_path).items
    assert first.audio is not None and second.audio is not None
    np.testing.assert_allclose(first.audio.read()[0], sample_waves()[1], atol=1e-3)
    with pytest.raises(ValueError, match="no audio in .*row 1, column audio"):
        second.audio.read()


def test_the_revision_is_that_of_the_download(tmp_path: Path) -> None:
    name = "mmsu/test"
    commit = "548e2283105825bf908a7db5c09c00dbcf42bd4c"
    cached = write_set(tmp_path / "snapshots" / commit, name, sample_rows(name), sample_waves(), "parquet")
    local = write_set(tmp_path / "local", name, sample_rows(name), sample_waves(), "parquet")
    assert load(name, local).revision is None
    kept = local / ".cache" / "huggingface" / "download" / "data" / "train.parquet.metadata"
    kept.parent.mkdir(parents=True)
    kept.write_text(f"{commit}\netag\n1.0\n")
    assert [load(name, root).revision for root in (cached, local)] == [commit, commit]


def test_the_table_holds_every_subset_of_the_paper() -> None:
    assert collections.Counter(name.partition("/")[0] for name in BENCHMARKS) == {
        **{"openaudiobench": 5, "voicebench": 7, "ultraeval": 4, "mmau": 1, "mmau-pro": 1, "mmsu": 1},
        **{"asr": 4, "speechfc": 5, "vstyle": 2, "bigbench-audio": 1},
    }
