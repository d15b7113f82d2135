"""Data sets of the tfds catalogue, read without TensorFlow."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds
from user_rows import encoded, tone

from data_pipelines.audio_files import with_waves
from data_pipelines.faults import Bad, Cause
from data_pipelines.importers import catalogue
from data_pipelines.importers.registry import read
from data_pipelines.records import Record
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


@pytest.mark.parametrize(
    ("heard", "written", "lazy", "rate"),
    [("speech", "text", False, 16_000), ("speech", "text", True, 16_000), ("voice", "sentence", False, 48_000)],
)
def test_sets_of_the_tfds_catalogue(tmp_path: Path, heard: str, written: str, lazy: bool, rate: int) -> None:
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
    found = list(read(builder.data_dir))
    good = [row for row in found if isinstance(row, Record)]
    (bad,) = (row for row in found if isinstance(row, Bad))
    assert (bad.id, bad.cause) == ("84-2", Cause.EMPTY_TEXT) and [row.id for row in good] == ["84-1"]
    assert good[0].messages[1].text == "GO"
    assert good[0].file == str(Path(builder.data_dir) / "dev_clean")
    wave = with_waves(good[0]).audios[0].wave
    np.testing.assert_allclose(wave[500:-500], tone(0.5)[500:-500, 0], atol=2e-3)
    described["featuresDict"]["features"].pop(heard)
    file.write_text(json.dumps(described))
    with pytest.raises(InputError, match="no audio with a transcript among its features"):
        list(read(builder.data_dir))
