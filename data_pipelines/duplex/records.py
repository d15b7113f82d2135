"""Dialogues of the rows of any half-duplex set, whose users and replies speak."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float32

from data_pipelines.duplex.dialogue import FRAME, Dialogue, Exchange, Extras, Reply, Said, Utterance
from data_pipelines.records.record import Message, Record
from data_pipelines.records.reject import Reason, Rejected
from fac_jax.audio.io import load, recordings
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT
from fac_jax.evaluation.benchmarks.duplex.voice_activity import levels
from fac_jax.types import InputError

QUIETER: Final = -30.0  # dB below the loudest frame: between words
SHORTEST: Final = 0.06  # seconds of a silence at which a wave may be divided
OF_ASSISTANT: Final = ("greetings", "asked_back", "acknowledgements", "assistant_backchannels")


def dialogues(rows: Iterable[Record | Rejected], extras: Extras, together: int = 1) -> Iterator[Dialogue | Rejected]:
    """Yields dialogues of checked rows with their waves, and the rows that have none with the reason.

    A dialogue's side question is the first question of the dialogue before.

    Args:
      together: rows that make one dialogue, which has the id of the first; the last one may be of fewer.
    """
    side: tuple[Exchange, ...] = ()
    found: list[Exchange] = []
    names: list[str] = []
    for row in rows:
        if isinstance(row, Rejected):
            yield row
            continue
        silent = next((message for message in row.messages if _wave(message) is None), None)
        if row.timing is not None or row.preference is not None or silent is not None:
            detail = "a call, or a pair" if silent is None else f"a message of the {silent.role} without audio"
            reason = f"calls are made of spoken dialogues; {detail}"
            yield Rejected(Reason.MISSING_AUDIO, reason, row.file, row.line, row.id)
            continue
        names.append(row.id)
        found += map(_exchange, row.messages[::2], row.messages[1::2])
        if len(names) == together:
            yield Dialogue(names[0], tuple(found), side, extras)
            side, found, names = tuple(found[:1]), [], []
    if names:
        yield Dialogue(names[0], tuple(found), side, extras)


def divided(wave: Float32[np.ndarray, " N"]) -> list[Float32[np.ndarray, " _N"]]:
    """Divides speech at its last silence, so that the first part lacks the last words; without one returns it whole.

    Silences are at least 60 ms long, and 30 dB softer than the loudest 10 ms.
    """
    level = levels(wave, FRAME)
    soft = np.flatnonzero(np.diff(np.pad(level < level.max(initial=-np.inf) + QUIETER, 1).astype(int)))
    runs = [(start, end) for start, end in soft.reshape(-1, 2) if start > 0 and end < len(level)]
    long = [run for run in runs if (run[1] - run[0]) * FRAME >= SHORTEST * RATE]
    if not long:
        return [wave]
    middle = sum(long[-1]) // 2 * FRAME
    return [wave[:middle], wave[middle:]]


def extras_of(folder: Path | None) -> Extras:
    """Reads the short pieces that events are made of: FOLDER/NAME/WORDS.wav, NAME a field of `Extras`.

    Raises:
      InputError: the folder has another folder, or a file cannot be read.
    """
    if folder is None:
        return Extras()
    known = [field.name for field in dataclasses.fields(Extras)]
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    unknown = sorted(found.name for found in folder.iterdir() if found.is_dir() and found.name not in known)
    if unknown:
        raise InputError(f"{folder}: unknown folder {unknown[0]!r}; known: {', '.join(known)}")
    pieces: dict[str, Any] = {}
    for name in known:
        waves = [(file.stem, load(file)) for file in recordings(folder / name)] if (folder / name).is_dir() else []
        make = _reply if name in OF_ASSISTANT else Said
        pieces[name] = tuple(make(words, wave) for words, wave in waves)
    return Extras(**pieces)


def _wave(message: Message) -> np.ndarray | None:
    return None if message.audio is None else message.audio.wave


def _exchange(asked: Message, reply: Message) -> Exchange:
    assert asked.audio is not None and asked.audio.wave is not None and reply.audio is not None
    words, wave = asked.audio.transcript or asked.text, asked.audio.wave
    parts = divided(wave)
    told = tuple(Said(words if i == 0 else "", part) for i, part in enumerate(parts)) if len(parts) > 1 else ()
    assert reply.audio.wave is not None
    return Exchange(Utterance(Said(words, wave), told), _reply(reply.text, reply.audio.wave))


def _reply(text: str, wave: Float32[np.ndarray, " N"]) -> Reply:
    """Returns a reply in whole groups, filled with silence."""
    return Reply(text, np.pad(wave, (0, -len(wave) % SLOT)))
