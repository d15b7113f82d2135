"""Data sets of the tfds catalogue, read without TensorFlow."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from user_rows import encoded, told, tone

from data_pipelines.importers import catalogue
from data_pipelines.importers.registry import read
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected
from fac_jax.types import InputError


class Catalogued(tfds.core.GeneratorBasedBuilder):
    """What the catalogue's builder leaves on the disk; its `Audio` itself needs TensorFlow."""

    VERSION = tfds.core.Version("2.1.1")

    def __init__(self, rows: list[dict[str, Any]], audio: tfds.features.Tensor, heard: str, written: str, **more: Any):
        self._rows = rows
        self._features = {heard: audio, written: tfds.features.Text(), "id": np.str_}
        super().__init__(file_format="array_record", **more)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self._features))

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {"dev_clean": self._generate_examples()}

    def _generate_examples(self) -> Any:
        yield from ((str(i), row) for i, row in enumerate(self._rows))


def store_as_tfrecord(folder: Path) -> None:
    """What TensorFlow would have written: the same records with their lengths before them."""
    (file,) = folder.glob("*.array_record-*")
    reader = ArrayRecordReader(str(file))
    rows = reader.read([*range(reader.num_records())])
    other = folder / file.name.replace("array_record", "tfrecord")
    other.write_bytes(b"".join(struct.pack("<QI", len(row), 0) + row + bytes(4) for row in rows))
    file.unlink()
    info = folder / "dataset_info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "fileFormat": "tfrecord"}))


@pytest.mark.parametrize(
    ("heard", "written", "lazy", "rate", "stored"),
    [
        ("speech", "text", False, 16_000, "array_record"),
        ("speech", "text", True, 16_000, "array_record"),
        ("speech", "text", True, 16_000, "tfrecord"),
        ("voice", "sentence", False, 48_000, "array_record"),
        ("voice", "sentence", False, 48_000, "tfrecord"),
    ],
)
def test_sets_of_the_tfds_catalogue(
    tmp_path: Path, heard: str, written: str, lazy: bool, rate: int, stored: str
) -> None:
    samples = np.rint(tone(0.5, rate)[:, 0] * 32767).astype(np.int16)
    value = encoded(0.5, rate, format="FLAC") if lazy else samples
    shape, dtype = ((), np.object_) if lazy else ((None,), np.int16)
    rows = [{heard: value, written: words, "id": name} for name, words in (("84-1", "GO"), ("84-2", ""))]
    builder = Catalogued(rows, tfds.features.Tensor(shape=shape, dtype=dtype), heard, written, data_dir=tmp_path)
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    file = Path(builder.data_dir) / "features.json"
    described = json.loads(file.read_text())
    described["featuresDict"]["features"][heard] = {
        "pythonClassName": catalogue.AUDIO,
        "audio": {
            "shape": {"dimensions": ["-1"]},
            "dtype": "int16",
            "fileFormat": "flac",
            "sampleRate": str(rate),
            "encoding": "none",
            "lazyDecode": lazy,
        },
    }
    file.write_text(json.dumps(described))
    if stored == "tfrecord":
        store_as_tfrecord(Path(builder.data_dir))
    found = list(read(builder.data_dir, split="dev_clean"))
    assert list(map(told, found)) == list(map(told, read(builder.data_dir)))
    good = [row for row in found if isinstance(row, Record)]
    (bad,) = (row for row in found if isinstance(row, Rejected))
    assert (bad.id, bad.reason) == ("84-2", Reason.EMPTY_TEXT) and [row.id for row in good] == ["84-1"]
    assert good[0].messages[1].text == "GO"
    assert good[0].file == str(Path(builder.data_dir) / "dev_clean")
    wave = with_waves(good[0]).audios[0].wave
    np.testing.assert_allclose(wave[500:-500], tone(0.5)[500:-500, 0], atol=2e-3)
    with pytest.raises(InputError, match="no split 'train'; it has dev_clean"):
        list(read(builder.data_dir, split="train"))
    described["featuresDict"]["features"].pop(heard)
    file.write_text(json.dumps(described))
    with pytest.raises(InputError, match="no audio with a transcript among its features"):
        list(read(builder.data_dir))


def test_truncated_tfrecord_is_named(tmp_path: Path) -> None:
    whole = struct.pack("<QI", 3, 0) + b"abc" + bytes(4)
    for cut in (5, 14, 18):
        (tmp_path / "cut").write_bytes(whole + whole[:cut])
        with pytest.raises(InputError, match="cut: ends within a record"):
            list(catalogue.tfrecords(tmp_path / "cut"))
    (tmp_path / "two").write_bytes(whole * 2)
    assert list(catalogue.tfrecords(tmp_path / "two")) == [b"abc", b"abc"]
    with pytest.raises(InputError, match="gone: cannot be read"):
        list(catalogue.tfrecords(tmp_path / "gone"))
