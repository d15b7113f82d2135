"""Data sets of the tfds catalogue (librispeech, common_voice, ..), prepared, without TensorFlow.

tfds decodes its `Audio` feature only with TensorFlow. The files hold samples as integers, or the bytes of an audio
file, so the data set is opened with a description that has a plain tensor in place of `Audio`.
"""

import json
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.importers.manifest import TEXT_KEYS
from data_pipelines.importers.rows import View, transcribed
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError, unnamed
from fac_jax.audio.io import resampled
from fac_jax.types import InputError

HEAD: Final = struct.Struct("<QI")  # length of what follows, checksum of the length
FOOT: Final = 4  # bytes of a checksum
FEATURES, INFO = "features.json", "dataset_info.json"
AUDIO: Final = "tensorflow_datasets.core.features.audio_feature.Audio"
TENSOR: Final = "tensorflow_datasets.core.features.tensor_feature.Tensor"
AUDIO_NAMES: Final = ("speech", "audio", "voice")
FULL_SCALE: Final = 32768.0  # tfds stores 16-bit samples, whatever integers hold them
USUAL_RATE: Final = 16_000


def tfrecords(file: Path) -> Iterator[bytes]:
    """Yields the tfrecords of a file. Checksums are ignored: a damaged record fails to parse as `tf.train.Example`.

    Raises:
      InputError: the file cannot be read, or ends within a record.
    """
    try:
        with file.open("rb") as opened:
            while head := opened.read(HEAD.size):
                size = HEAD.unpack(head)[0] if len(head) == HEAD.size else 0
                data = opened.read(size + FOOT)
                if len(head) < HEAD.size or len(data) < size + FOOT:
                    raise InputError(f"{file}: ends within a record; copy it again")
                yield data[:size]
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from None


def read(path: Path, root: Path, view: View = "asr", split: str | None = None) -> Iterator[Record | Rejected]:
    """Yields the rows of a split, or of all splits, of a prepared data set; `root` is not used.

    Raises:
      InputError: the folder is no such data set, or it has no such split, no audio with a transcript, or an
        unsupported file format.
    """
    described = _description(path)
    features = described["featuresDict"]["features"]
    rates = {name: int(f["audio"].get("sampleRate") or USUAL_RATE) for name, f in features.items() if "audio" in f}
    heard = next((name for name in AUDIO_NAMES if name in features), None)
    written = next((name for name in TEXT_KEYS if name in features), None)
    if heard is None or written is None:
        raise InputError(f"{path}: no audio with a transcript among its features {', '.join(features)}")
    for file, number, row in _rows(path, _without_audio(described), split):
        name = row["id"] if "id" in features else unnamed(file, number)
        name = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
        try:
            text = _text(row[written])
            audio = _audio(row[heard], rates.get(heard, USUAL_RATE), text)
            yield transcribed(name, audio, text, str(file), number, view)
        except RejectedError as refused:
            yield Rejected(refused.reason, refused.detail, str(file), number, name)


def _description(path: Path) -> dict[str, Any]:
    try:
        found = json.loads((path / FEATURES).read_text(encoding="utf-8"))
        if isinstance(found["featuresDict"]["features"], dict) and (path / INFO).is_file():
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path}: no prepared tfds data set; it has {INFO} and a {FEATURES} with features by their names")


def _without_audio(described: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces every `Audio` feature of the description by a tensor."""

    def plain(feature: dict[str, Any]) -> dict[str, Any]:
        if feature.get("pythonClassName") != AUDIO:
            return feature
        audio = feature["audio"]
        lazy = audio.get("lazyDecode", False)
        tensor = {
            "shape": {} if lazy else audio.get("shape", {"dimensions": ["-1"]}),
            "dtype": "string" if lazy else audio.get("dtype", "int64"),
            "encoding": "none" if lazy else str(audio.get("encoding", "none")).lower(),
        }
        return {"pythonClassName": TENSOR, "tensor": tensor}

    features = described["featuresDict"]["features"]
    return {**described, "featuresDict": {"features": {name: plain(f) for name, f in features.items()}}}


def _rows(path: Path, described: Mapping[str, Any], split: str | None) -> Iterator[tuple[Path, int, Mapping[str, Any]]]:
    """Yields the folder of the split, the number and the values of every row, read with another description."""
    with tempfile.TemporaryDirectory() as folder:
        for file in path.iterdir():
            if file.name != FEATURES:
                (Path(folder) / file.name).symlink_to(file.resolve())
        (Path(folder) / FEATURES).write_text(json.dumps(described), encoding="utf-8")
        builder = tfds.builder_from_directory(folder)
        stored = None if builder.info.file_format is None else builder.info.file_format.value
        if stored is None or stored not in READERS:
            raise InputError(f"{path}: stored as {stored}; prepare it with file_format={' or '.join(READERS)}")
        if split is not None and split not in builder.info.splits:
            raise InputError(f"{path}: no split {split!r}; it has {', '.join(builder.info.splits)}")
        for name in builder.info.splits if split is None else (split,):
            for number, row in enumerate(READERS[stored](builder, name), 1):
                yield path / name, number, row


def _array_record(builder: tfds.core.DatasetBuilder, split: str) -> Iterable[Mapping[str, Any]]:
    return builder.as_data_source(split)  # pyright: ignore[reportCallIssue]  (a decorator hides the signature)


def _tfrecord(builder: tfds.core.DatasetBuilder, split: str) -> Iterable[Mapping[str, Any]]:
    features: Any = builder.info.features
    for file in builder.info.splits[split].filepaths:
        for data in tfrecords(Path(file)):
            try:
                row = features.deserialize_example_np(data)
            except Exception as error:  # protobuf's and tfds's own, of whatever a damaged record makes of it
                raise InputError(f"{Path(file).name}: a record cannot be read ({str(error)[:80]})") from error
            yield row


# By the format that a data set is stored in.
READERS: Final[Mapping[str, Callable[[tfds.core.DatasetBuilder, str], Iterable[Mapping[str, Any]]]]] = {
    "array_record": _array_record,
    "tfrecord": _tfrecord,
}


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise RejectedError(Reason.WRONG_TYPE, f"the transcript is a {type(value).__name__}, must be text")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise RejectedError(Reason.BAD_UTF8, f"the transcript is not UTF-8: {error.reason}") from None


def _audio(value: Any, rate: int, text: str) -> Audio:
    if isinstance(value, bytes):
        return Audio(data=value, transcript=text)
    samples = np.asarray(value)
    scaled = (samples / FULL_SCALE if np.issubdtype(samples.dtype, np.integer) else samples).astype(np.float32)
    return Audio(wave=resampled(scaled, rate), transcript=text)
