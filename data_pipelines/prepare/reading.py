"""The columns in which tfds stores a row, an entry for each message or audio, versioned as the schema; reading."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast, overload

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.paths import local_path, stored_columns
from data_pipelines.prepare import flac
from data_pipelines.prepare.rows import Prepared
from data_pipelines.records.record import SCHEMA_VERSION, Audio, Message, Preference, Record
from data_pipelines.records.reject import Rejected
from data_pipelines.records.timing import from_json, to_json
from fac_jax.batching.conversation import Learns
from fac_jax.types import InputError

NAME: Final = "prepared_rows"
VERSION: Final = f"{SCHEMA_VERSION}.0"
INFO: Final = "dataset_info.json"  # written last: tfds reads any folder that has it
DESCRIPTION: Final = "Conversations and preference pairs: FLAC of 16 kHz, speech tokens at 25 Hz, text."
ROW_TEXTS: Final = ("id", "system", "file", "original", "task")
MESSAGE_TEXTS: Final = ("role", "text", "lead", "learns")
AUDIO_TEXTS: Final = ("path", "named", "transcript")
RARE: Final = ("rate", "slots", "start", "end", "channel")  # fields of audios
NONE: Final = -1  # stands for None in number columns
COLUMNS: Final = {*ROW_TEXTS, *AUDIO_TEXTS, "flac", "rest"}  # of every version of the schema


def features() -> tfds.features.FeaturesDict:
    """The columns.

    `messages` are those of the row, then the chosen and the rejected reply of a pair. `audio` is a message's place
    among the audios, `token_count` splits `tokens` by audio, `rest` is JSON of rare fields.
    """
    one: dict[str, Any] = {name: tfds.features.Text() for name in (*ROW_TEXTS, "rest")}
    many: dict[str, Any] = {
        name: tfds.features.Sequence(tfds.features.Text()) for name in (*MESSAGE_TEXTS, *AUDIO_TEXTS)
    }
    numbers: dict[str, Any] = {
        name: tfds.features.Tensor(shape=(None,), dtype=np.int32) for name in ("audio", "token_count", "tokens")
    }
    flacs = tfds.features.Sequence(tfds.features.Tensor(shape=(), dtype=np.object_))
    return tfds.features.FeaturesDict({**one, **many, **numbers, "line": np.int64, "flac": flacs})


def to_columns(row: Prepared) -> dict[str, Any]:
    """Converts a prepared row to values of `features`."""
    record = row.record
    messages = [*record.messages, *record.replies]
    audios = record.audios
    places = iter(range(len(audios)))
    tokens = [audio.tokens for audio in audios]
    rest: dict[str, Any] = {
        "system": record.system is not None,
        "original": record.original is not None,
        "audios": [
            {**{name: getattr(audio, name) for name in RARE}, "path": audio.path is not None} for audio in audios
        ],
    }
    if record.timing is not None:
        rest["timing"] = to_json(record.timing)
    return {
        "id": _bytes(record.id),
        "system": _bytes(record.system or ""),
        "file": _bytes(record.file),
        "line": record.line,
        "original": _bytes(record.original or ""),
        "task": _bytes("" if record.preference is None else record.preference.task),
        "rest": json.dumps(rest),
        **{name: [_bytes(getattr(message, name)) for message in messages] for name in MESSAGE_TEXTS},
        "audio": np.array([NONE if m.audio is None else next(places) for m in messages], np.int32),
        **{name: [_bytes(getattr(audio, name) or "") for audio in audios] for name in AUDIO_TEXTS},
        "token_count": np.array([NONE if found is None else len(found) for found in tokens], np.int32),
        "tokens": np.concatenate([np.zeros(0, np.int32), *[found for found in tokens if found is not None]]),
        "flac": list(row.flacs),
    }


def to_record(columns: Mapping[str, Any], decode: Callable[[bytes], np.ndarray] = flac.decode) -> Record:
    """Converts the values of `to_columns` back to a record; `decode` turns FLAC bytes into waves."""
    rest = json.loads(columns["rest"])
    counts = columns["token_count"]
    ends = np.cumsum(np.maximum(counts, 0))
    audios = [
        Audio(
            path=_text(columns["path"][i]) if kept["path"] else None,
            named=_text(columns["named"][i]),
            wave=decode(columns["flac"][i]) if columns["flac"][i] else None,
            tokens=None if counts[i] == NONE else columns["tokens"][ends[i] - counts[i] : ends[i]],
            transcript=_text(columns["transcript"][i]),
            **{name: kept[name] for name in RARE if name in kept},  # schema 1.1 has no channel
        )
        for i, kept in enumerate(rest["audios"])
    ]
    learns = columns.get("learns", [b"both"] * len(columns["role"]))  # schema 1.0 has no such column
    messages = [
        Message(
            role=_text(role),
            text=_text(text),
            audio=None if place == NONE else audios[place],
            lead=_text(lead),
            learns=cast(Learns, _text(learnt)),
        )
        for role, text, lead, learnt, place in zip(
            columns["role"], columns["text"], columns["lead"], learns, columns["audio"], strict=True
        )
    ]
    task = _text(columns["task"])
    preference = None
    if task:
        *messages, chosen, rejected = messages
        preference = Preference(task, chosen, rejected)
    return Record(
        id=_text(columns["id"]),
        system=_text(columns["system"]) if rest["system"] else None,
        messages=tuple(messages),
        preference=preference,
        file=_text(columns["file"]),
        line=int(columns["line"]),
        original=_text(columns["original"]) if rest["original"] else None,
        timing=from_json(rest["timing"]) if "timing" in rest else None,
    )


def _bytes(text: str) -> bytes:
    """UTF-8 bytes; halves of surrogate pairs, which `original` and file names may hold, are kept."""
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


class PreparedRecords(Sequence[Record]):
    """The rows of a split. A row is read and its audio decoded when it is indexed. Can be pickled."""

    def __init__(self, rows: Sequence[Any], decode: Callable[[bytes], np.ndarray] = flac.decode) -> None:
        """Takes rows as tfds returns them, and a decoder of FLAC bytes."""
        self._rows, self._decode = rows, decode

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        """The rows in turn; without this, an IndexError within a damaged row would end them."""
        return (self[i] for i in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | Sequence[Record]:
        """A row, or the list of a slice's rows."""
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return to_record(self._rows[range(len(self))[index]], self._decode)


def read_prepared(
    folder: str | os.PathLike[str], split: str, decode: Callable[[bytes], np.ndarray] = flac.decode
) -> PreparedRecords:
    """The rows of a split in the order of the shards; `decode` is `flac.silence` where only lengths matter.

    Records are those that were prepared, except for their audio: waves have 16 bits at 16 kHz, file bytes are dropped,
    and spoken replies have their tokens.

    Raises:
      InputError: the folder was not prepared, not to its end, or under another version of the schema, or has no such
        split.
    """
    builder = _builder(folder)
    if split not in builder.info.splits:
        raise InputError(f"{folder}: no split {split!r}; it has {', '.join(builder.info.splits)}")
    if not builder.info.splits[split].num_examples:  # which tfds does not read
        return PreparedRecords((), decode)
    rows = builder.as_data_source(split)  # pyright: ignore[reportCallIssue]  (a decorator hides the signature)
    return PreparedRecords(rows, decode)


def _builder(folder: str | os.PathLike[str]) -> tfds.core.DatasetBuilder:
    local_path(folder, "shards are read by array_record, which needs local files")
    if not (Path(folder) / INFO).is_file():
        raise InputError(f"{folder}: no {INFO}: run python -m data_pipelines.prepare to its end")
    builder = tfds.builder_from_directory(folder)
    stored = str(builder.info.version)
    if stored.split(".")[0] != VERSION.split(".")[0]:
        raise InputError(f"{folder}: prepared under schema {stored}, this version reads {VERSION}: prepare it again")
    return builder


def read_split(path: Path, root: Path, split: str | None = None) -> Iterator[Record | Rejected]:
    """Yields the rows of a split, or of all splits; `root` is not used; raises as `read_prepared`."""
    for name in _builder(path).info.splits if split is None else (split,):
        yield from read_prepared(path, name)


def is_prepared(path: Path) -> bool:
    """Whether a folder holds what `data_pipelines.prepare` writes."""
    return stored_columns(path) >= COLUMNS
