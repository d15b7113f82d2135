"""The release's SFT rows, in and out without loss: JSONL with `system`, `messages` and `audio`; spoken preference rows.

The latter end with the user. `chosen` and `rejected` are messages of the assistant, `chosen_audio` and `rejected_audio`
the audio entry of each (or a list that holds it; left out for a text reply), `task` is one of `PREFERENCE_TASKS`.
"""

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_pipelines.importers.rows import (
    JsonRow,
    audio_entries,
    items,
    json_rows,
    parsed,
    row_id,
    section,
    split,
    string,
)
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Message, Preference, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError, unnamed
from fac_jax.audio.mel import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.types import InputError

BOS: Final = "<|audio_bos|>"
PAD: Final = "<|audio_pad|>"
AUDIO: Final = "<|AUDIO|>"
PLACEHOLDER: Final = f"{BOS}{AUDIO}<|audio_eos|>"
DELAY: Final = 10  # speech bos before a reply's tokens: 2 groups of 5
SPEECH: Final = re.compile(r"(?P<delay>(?:<\|audio_bos\|>)*)(?P<units>(?:\[AU[0-9]{1,9}\])+)")
PADS: Final = re.compile(r"(?:<\|audio_pad\|>)*")
UNIT: Final = re.compile(r"\[AU([0-9]+)\]")


def read(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the rows of a file; `root` is the folder of relative audio paths.

    A system message at the head of `messages` counts as `system` if the row has no `system`; raises as `json_rows`.
    """
    return parsed(path, json_rows(path), lambda row, number: record_of(row, path, number, root))


def record_of(row: JsonRow, path: Path, number: int, root: Path) -> Record:
    """The record of a row; with `chosen` and `rejected` replies it is a preference pair (`read_pairs`).

    Raises:
      RejectedError: the row is malformed.
    """
    raw = [section(message, "a message") for message in items(row, "messages")]
    system = string(row, "system", "") if "system" in row else None
    if system is None and raw and raw[0].get("role") == "system":
        system, raw = string(raw[0], "content"), raw[1:]
    messages = _messages(raw, items(row, "audio", []), root)
    preference = None
    if "chosen" in row or "rejected" in row:
        chosen, rejected = (_reply(row, side, root) for side in ("chosen", "rejected"))
        preference = Preference(string(row, "task"), chosen, rejected)
    record = Record(row_id(row, path, number), system, messages, preference, str(path), number)
    if _row(record) == row and _lacks(record) is None:
        return record
    return dataclasses.replace(record, original=json.dumps(row, ensure_ascii=False))


def export(record: Record) -> JsonRow:
    """Converts a record to a row: the original row if the record has not changed, otherwise a new one.

    Raises:
      InputError: an audio has no file to be named, a spoken reply no tokens, or a user's audio no known length.
    """
    if record.original is not None:
        row = json.loads(record.original)
        if _row(record_of(row, Path(record.file), record.line, Path())) == _row(record):
            return row
    lack = _lacks(record)
    if lack is not None:
        raise InputError(f"row {record.id}: {lack}")
    return _row(record)


def _lacks(record: Record) -> str | None:
    """What a record lacks to be written; None if nothing."""
    for message in (*record.messages, *record.replies):
        audio, says = message.audio, message.role == "assistant"
        if audio is not None and ((says and audio.tokens is None) or _slots(audio) is None):
            return f"the {message.role}'s audio has no speech tokens; encode or decode it first"
        if audio is not None and not says and not audio.named and audio.tokens is None:
            return "the user's audio has no file; write it out and set `named`"
    return None


def _messages(raw: Sequence[Mapping[str, Any]], entries: Sequence[Any], root: Path) -> tuple[Message, ...]:
    contents = [string(message, "content") for message in raw]
    loose = sum(content.count(AUDIO) - content.count(PLACEHOLDER) for content in contents)
    if loose:
        raise RejectedError(Reason.PLACEHOLDERS, f"{loose} of {AUDIO} outside {PLACEHOLDER}")
    audios = audio_entries(entries, contents, PLACEHOLDER)
    return tuple(
        _message(string(message, "role"), content, audios, root) for message, content in zip(raw, contents, strict=True)
    )


def _message(role: str, content: str, audios: Iterator[Any], root: Path) -> Message:
    lead, text = split(content, PLACEHOLDER)
    if text is None:
        return Message(role, content)
    entry = _entry(next(audios))
    if role != "assistant":
        return Message(role, text, _heard(entry, root), lead)
    if lead or text:
        raise RejectedError(
            Reason.LAYOUT, "a spoken reply holds words next to its audio; move them to the text of the audio entry"
        )
    return Message(role, string(entry, "text", ""), _spoken(entry, root))


def _reply(row: JsonRow, side: str, root: Path) -> Message:
    raw = section(row.get(side), side)
    given = row.get(f"{side}_audio")
    entries = [] if given is None else given if isinstance(given, list) else [given]
    return _messages([raw], entries, root)[0]


def _entry(raw: Any) -> Mapping[str, Any]:
    """Parses an audio entry, which is a JSON string."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except (ValueError, RecursionError):
            raise RejectedError(Reason.MALFORMED, f"an audio entry is not JSON: {raw[:50]}") from None
    return section(raw, "an audio entry")


def _heard(entry: Mapping[str, Any], root: Path) -> Audio:
    """The audio of a user. Tokens that start with a delay replace the file, as in the release."""
    named = string(entry, "path", "") or string(entry, "wav_path", "")
    token = string(entry, "token", "")
    tokens, slots = _tokens(token)
    file = None if not named or (tokens is not None and token.startswith(BOS)) else joined(root, named)
    return Audio(path=file, named=named, tokens=tokens, slots=slots, transcript=string(entry, "ref_text", ""))


def _spoken(entry: Mapping[str, Any], root: Path) -> Audio:
    named = next((string(entry, key, "") for key in ("ref_path", "path", "wav_path") if string(entry, key, "")), "")
    tokens, _ = _tokens(string(entry, "token", ""))
    path = joined(root, named) if named else None
    return Audio(path=path, named=named, tokens=tokens, transcript=string(entry, "ref_text", ""))


def _tokens(token: str) -> tuple[np.ndarray | None, int | None]:
    """Codec ids int32 `[T]`, and the number of reserved tokens; None for what the string does not hold."""
    if not token:
        return None, None
    if PADS.fullmatch(token):
        return None, len(token) // len(PAD)
    if not SPEECH.fullmatch(token):
        raise RejectedError(Reason.BAD_TOKENS, f"token is neither {PAD}.. nor {BOS}..[AU0000]..: {token[:60]}")
    return np.array([int(unit) for unit in UNIT.findall(token)], np.int32), None


def _slots(audio: Audio) -> int | None:
    if audio.slots is not None:
        return audio.slots
    if audio.tokens is not None:
        return len(audio.tokens)
    return None if audio.wave is None else len(audio.wave) * TOKEN_RATE // RATE


def _row(record: Record) -> JsonRow:
    """The record as a new row."""
    row: JsonRow = {} if record.id == unnamed(Path(record.file), record.line) else {"id": record.id}
    if record.system is not None:
        row["system"] = record.system
    row["messages"] = [{"role": message.role, "content": _content(message)} for message in record.messages]
    row["audio"] = _entries(record.messages)
    if record.preference is not None:
        for side, reply in zip(("chosen", "rejected"), record.replies, strict=True):
            row[side] = {"role": reply.role, "content": _content(reply)}
            row[f"{side}_audio"] = _entries([reply])
        row["task"] = record.preference.task
    return row


def _content(message: Message) -> str:
    if message.audio is None:
        return message.text
    if message.role == "assistant":
        return PLACEHOLDER
    return message.lead + PLACEHOLDER + (f"\n{message.text}" if message.text else "")


def _entries(messages: Sequence[Message]) -> list[str]:
    return [
        json.dumps(_entry_of(message, message.audio), ensure_ascii=False)
        for message in messages
        if message.audio is not None
    ]


def _entry_of(message: Message, audio: Audio) -> dict[str, str]:
    units = "" if audio.tokens is None else "".join(f"[AU{unit:04d}]" for unit in audio.tokens)
    if message.role == "assistant":
        token = BOS * DELAY + units if units else ""
        heard, said, ref_path = "", message.text, audio.named
    else:
        token = PAD * (_slots(audio) or 0) if audio.named else units
        heard, said, ref_path = audio.named, "", ""
    return {"path": heard, "text": said, "token": token, "ref_path": ref_path, "ref_text": audio.transcript}


def read_pairs(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the pairs of a file; `export` writes them again. Arguments and errors are those of `read`."""

    def parse(row: JsonRow, number: int) -> Record:
        missing = [key for key in ("chosen", "rejected", "task") if row.get(key) is None]
        if missing:
            raise RejectedError(Reason.MISSING_KEY, f"key {missing[0]!r} is missing")
        return record_of(row, path, number, root)

    return parsed(path, json_rows(path), parse)
