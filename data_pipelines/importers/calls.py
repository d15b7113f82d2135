"""Sets of calls: two channels and their annotation, as `data_pipelines.duplex` writes them (docs/duplex.md).

    FOLDER/calls.jsonl, or FOLDER/SPLIT/calls.jsonl   a call on each line
    audio/ID.wav      its two channels: the user's, then what the assistant plays
    replies/KEY.flac  whole replies, of which codec ids are made; a reply that is cut in a call is whole here

    {"id": "a", "audio": "audio/a.wav", "system": "..", "slots": 70, "delay_groups": 2,
     "turns": [{"opening": 9, "closing": 24, "text": "..", "cut": false, "reply": "replies/0f3a.flac"}],
     "events": [{"kind": "speech", "onset": 9600, "end": 27200, "slot": 3, "text": "..", "turn": 0}]}

Onsets and ends of events are samples at 16 kHz. A turn without `reply` is what the assistant's channel holds in its
slots. `audio` may also be an object of two files of one channel, {"user": "a.wav", "assistant": "b.wav"}.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import soundfile

from data_pipelines.importers.rows import JsonRow, items, json_rows, number, parsed, row_id, section, string
from data_pipelines.paths import is_remote, joined
from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from data_pipelines.records.timing import Timing, TurnTiming
from fac_jax.duplex.call import SLOT_SECONDS, Event, EventKind
from fac_jax.types import InputError

CALLS: Final = "calls.jsonl"
USER, ASSISTANT = 0, 1  # channels


def splits(path: Path) -> list[str]:
    """Returns the names of the splits of a folder, sorted."""
    return sorted(file.parent.name for file in path.glob(f"*/{CALLS}"))


def is_calls(path: Path) -> bool:
    """Returns whether a folder holds calls, or splits of them."""
    return (path / CALLS).is_file() or bool(splits(path))


def read(path: Path, root: Path, split: str | None = None) -> Iterator[Record | Rejected]:
    """Yields the calls of a file, of a folder, or of one or all splits of a folder.

    Audio paths start at the folder of their `calls.jsonl`; `root` is not used.

    Raises:
      InputError: there are no calls, no such split, or a file cannot be read.
    """
    files = [path] if path.is_file() else [path / CALLS] if split is None and (path / CALLS).is_file() else []
    if not files:
        known = splits(path)
        if not known or (split is not None and split not in known):
            there = f"; it has {', '.join(known)}" if known else ""
            what = f"split {split!r}" if split is not None and known else f"{CALLS}, and no folder with one"
            raise InputError(f"{path}: no {what}{there}")
        files = [path / name / CALLS for name in ([split] if split is not None else known)]
    for file in files:
        yield from parsed(file, json_rows(file), lambda row, line, file=file: _record(row, file, line))


def _record(row: JsonRow, file: Path, line: int) -> Record:
    channels = _channels(row, file.parent)
    slots, delay = _whole(row, "slots"), _whole(row, "delay_groups")
    turns = [section(turn, "a turn") for turn in items(row, "turns")]
    timings = tuple(TurnTiming(_whole(turn, "opening"), _whole(turn, "closing"), _flag(turn, "cut")) for turn in turns)
    events = tuple(_event(section(event, "an event")) for event in items(row, "events", []))
    timing = Timing(slots, delay, timings, events)
    replies = [
        Message("assistant", string(turn, "text"), _reply(turn, timed, timing, channels, file.parent))
        for turn, timed in zip(turns, timings, strict=True)
    ]
    asked = " ".join(event.text for event in events if event.kind == EventKind.SPEECH)
    user = Message("user", audio=_audio(channels[USER], asked))
    system = string(row, "system") if row.get("system") is not None else None
    return Record(row_id(row, file, line), system, (user, *replies), None, str(file), line, timing=timing)


def _channels(row: JsonRow, folder: Path) -> tuple[tuple[str, str, int], tuple[str, str, int]]:
    """Returns for the user and the assistant the path, the path as the row names it, and the number of the channel.

    Raises:
      RejectedError: two files differ in length or rate, or cannot be decoded.
    """
    value = row.get("audio")
    if not isinstance(value, dict):
        named = string(row, "audio")
        path = joined(folder, named)
        return (path, named, USER), (path, named, ASSISTANT)
    names = [string(value, "user"), string(value, "assistant")]
    paths = [joined(folder, name) for name in names]
    if all(not is_remote(path) and Path(path).is_file() for path in paths):  # one that is missing is found later
        _check_alike(paths, names)
    return (paths[USER], names[USER], 0), (paths[ASSISTANT], names[ASSISTANT], 0)


def _check_alike(paths: list[str], names: list[str]) -> None:
    found = []
    for path, name in zip(paths, names, strict=True):
        try:
            found.append(soundfile.info(path))
        except soundfile.LibsndfileError as error:
            raise RejectedError(Reason.UNDECODABLE_AUDIO, f"{name}: {error}") from None
    one, other = found
    if one.samplerate != other.samplerate:
        rates = f"{names[USER]} has {one.samplerate} Hz, {names[ASSISTANT]} {other.samplerate} Hz"
        raise RejectedError(Reason.CALL, f"channels of other rates: {rates}")
    if one.frames != other.frames:
        lengths = f"{names[USER]} has {one.frames} samples, {names[ASSISTANT]} {other.frames}"
        raise RejectedError(Reason.CALL, f"channels of other lengths: {lengths}")


def _audio(channel: tuple[str, str, int], transcript: str, start: float = 0.0, end: float | None = None) -> Audio:
    path, named, which = channel
    return Audio(path=path, named=named, channel=which, start=start, end=end, transcript=transcript)


def _reply(
    turn: Mapping[str, Any], timed: TurnTiming, timing: Timing, channels: tuple[Any, Any], folder: Path
) -> Audio:
    text = string(turn, "text")
    if turn.get("reply") is not None:
        named = string(turn, "reply")
        return Audio(path=joined(folder, named), named=named, transcript=text)
    start = timing.audible(timed) * SLOT_SECONDS
    return _audio(channels[ASSISTANT], text, start, timed.closing * SLOT_SECONDS)


def _event(values: Mapping[str, Any]) -> Event:
    kind = string(values, "kind")
    known = [str(each) for each in EventKind]
    if kind not in known:
        raise RejectedError(Reason.CALL, f"unknown event {kind!r}; known: {', '.join(known)}")
    turn = None if values.get("turn") is None else _whole(values, "turn")
    return Event(EventKind(kind), _whole(values, "onset"), _whole(values, "end"), string(values, "text", ""), turn)


def _whole(values: Mapping[str, Any], key: str) -> int:
    value = number(values, key)
    if value is None:
        raise RejectedError(Reason.MISSING_KEY, f"key {key!r} is missing")
    if value != int(value):
        raise RejectedError(Reason.WRONG_TYPE, f"{key} is {value}, must be a whole number")
    return int(value)


def _flag(values: Mapping[str, Any], key: str) -> bool:
    value = values.get(key, False)
    if not isinstance(value, bool):
        raise RejectedError(Reason.WRONG_TYPE, f"{key} must be true or false")
    return value
