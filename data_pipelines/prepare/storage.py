"""A row as tfds stores it: flat columns, one entry a message or an audio. Its version is the schema's."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import numpy as np
import tensorflow_datasets as tfds

from data_pipelines.prepare import flac
from data_pipelines.prepare.rows import Prepared
from data_pipelines.records.record import SCHEMA_VERSION, Audio, Message, Preference, Record
from fac_jax.batching.conversation import Learns

NAME: Final = "prepared_rows"
VERSION: Final = f"{SCHEMA_VERSION}.0"
INFO: Final = "dataset_info.json"  # tfds reads a folder that has it: it comes last
DESCRIPTION: Final = "Conversations and preference pairs: FLAC of 16 kHz, speech tokens at 25 Hz, text."
ROW_TEXTS: Final = ("id", "system", "file", "original", "task")
MESSAGE_TEXTS: Final = ("role", "text", "lead", "learns")
AUDIO_TEXTS: Final = ("path", "named", "transcript")
NONE: Final = -1  # where a number is None


def features() -> tfds.features.FeaturesDict:
    """The columns.

    `messages` are those of the row, then the chosen and the rejected reply of a pair. `audio` is a message's place
    among the audios, `token_count` cuts `tokens` into those of every audio, `rest` is JSON of what is rarely there.
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
    """A prepared row as values of `features`."""
    record = row.record
    messages = [*record.messages, *record.replies]
    audios = record.audios
    places = iter(range(len(audios)))
    tokens = [audio.tokens for audio in audios]
    rest = {
        "system": record.system is not None,
        "original": record.original is not None,
        "audios": [_rest(audio) for audio in audios],
    }
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
    """What `to_columns` was made of; `decode` makes the waves of their FLAC files."""
    rest = json.loads(columns["rest"])
    counts = columns["token_count"]
    ends = np.cumsum(np.maximum(counts, 0))
    audios = [
        Audio(
            path=_text(columns["path"][i]) if kept["path"] else None,
            named=_text(columns["named"][i]),
            wave=decode(columns["flac"][i]) if columns["flac"][i] else None,
            rate=kept["rate"],
            tokens=None if counts[i] == NONE else columns["tokens"][ends[i] - counts[i] : ends[i]],
            slots=kept["slots"],
            start=kept["start"],
            end=kept["end"],
            transcript=_text(columns["transcript"][i]),
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
    )


def _rest(audio: Audio) -> dict[str, Any]:
    found = {name: getattr(audio, name) for name in ("rate", "slots", "start", "end")}
    return {**found, "path": audio.path is not None}


def _bytes(text: str) -> bytes:
    """UTF-8; halves of surrogate pairs, which `original` and names of files may hold, come through."""
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
