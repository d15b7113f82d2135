"""Recordings of two speakers on two channels with timed transcripts, in the layout of the Fisher corpus.

    FOLDER/**/NAME.sph|wav|flac   two channels: A, then B
    FOLDER/**/NAME.txt            "12.34 15.02 A: that is what I thought" on each line; a line may begin with #

Either speaker is the assistant once: NAME:A:0, NAME:A:1, .. are the calls in which A is. A recording is cut where the
assistant is silent, into calls of at most two minutes. Stretches of the assistant that leave no room to close a turn
and to open the next are one turn.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import soundfile

from data_pipelines.importers.rows import lines
from data_pipelines.records.record import Audio, Message, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from data_pipelines.records.timing import Timing, TurnTiming
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, SLOT_SECONDS, Event, EventKind
from fac_jax.types import InputError

SPEAKERS: Final = ("A", "B")
SOUNDS: Final = (".wav", ".flac", ".sph")
SLOTS: Final = 600  # of a call, at most: two minutes
DELAY: Final = 2  # groups before a reply, as in the release
LINE: Final = re.compile(r"(\d+(?:\.\d+)?)\s+(\d+(?:\.\d+)?)\s+([AB]):\s*(.*)")
MARKS: Final = re.compile(r"\[[^\]]*\]|\(\(|\)\)")  # "[laughter]", "((not certain))"
SPARE: Final = 0.1  # seconds by which a stretch may end behind its recording


@dataclasses.dataclass(frozen=True)
class Stretch:
    """What one speaker says without a break: seconds, words, and the line of the transcript."""

    start: float
    end: float
    text: str
    line: int


@dataclasses.dataclass(frozen=True)
class _Turn:
    opening: int
    closing: int
    text: str


def read(path: Path, root: Path) -> Iterator[Record | Rejected]:
    """Yields the calls of all recordings with a transcript, by name; `root` is the folder of the recordings.

    Raises:
      InputError: there is no such recording.
    """
    sounds = {file.stem: file for file in sorted(root.rglob("*")) if file.suffix.lower() in SOUNDS}
    texts = [file for file in sorted(path.rglob("*.txt")) if file.stem in sounds]
    if not texts:
        raise InputError(f"{path}: no NAME.txt with a recording of that name ({', '.join(SOUNDS)})")
    for text in texts:
        try:
            sound = soundfile.info(sounds[text.stem])
            said = _stretches(text, sound.frames / sound.samplerate)
        except soundfile.LibsndfileError as error:
            yield Rejected(Reason.UNDECODABLE_AUDIO, f"{sounds[text.stem]}: {error}", str(text), 1, text.stem)
            continue
        except RejectedError as refused:
            yield Rejected(refused.reason, refused.detail, str(text), 1, text.stem)
            continue
        slots = int(sound.frames / sound.samplerate / SLOT_SECONDS)
        for channel, speaker in enumerate(SPEAKERS):
            user = said[SPEAKERS[1 - channel]]
            yield from _calls(text, sounds[text.stem], channel, said[speaker], user, slots)


def _stretches(text: Path, seconds: float) -> dict[str, list[Stretch]]:
    """Reads a transcript.

    Raises:
      RejectedError: a line is none of a transcript, or does not fit the recording.
    """
    found: dict[str, list[Stretch]] = {speaker: [] for speaker in SPEAKERS}
    for row in lines(text):
        if isinstance(row, Rejected):
            raise RejectedError(row.reason, f"line {row.line}: {row.detail}")
        number, line = row
        if line.startswith("#"):
            continue
        parsed = LINE.fullmatch(line.strip())
        if parsed is None:
            raise RejectedError(Reason.MALFORMED, f"line {number}: not 'START END A: words': {line[:60]}")
        start, end, words = float(parsed[1]), float(parsed[2]), " ".join(MARKS.sub(" ", parsed[4]).split())
        if not start < end <= seconds + SPARE:
            raise RejectedError(Reason.CALL, f"line {number}: {start} to {end} s, the recording has {seconds:.2f} s")
        if words:
            found[parsed[3]].append(Stretch(start, end, words, number))
    return {speaker: sorted(said, key=lambda one: one.start) for speaker, said in found.items()}


def _calls(
    text: Path, sound: Path, channel: int, own: Sequence[Stretch], user: Sequence[Stretch], slots: int
) -> Iterator[Record | Rejected]:
    """Yields the calls of a recording with one of its speakers as the assistant."""
    turns, start = _turns(own, slots), 0
    if turns and turns[0].opening < 0:  # the assistant speaks before it could have opened a turn
        start = turns.pop(0).closing + 1
    number = 0
    while start < slots:
        within = [turn for turn in turns if start <= turn.opening and turn.closing < start + SLOTS]
        after = [turn for turn in turns if turn.opening >= start and turn.closing >= start + SLOTS]
        end = min(slots, start + SLOTS, after[0].opening if after else slots)
        name = f"{text.stem}:{SPEAKERS[channel]}:{number}"
        if end <= start:
            long = after[0]
            detail = f"a turn of {long.closing - long.opening} slots at {long.opening * SLOT_SECONDS:.1f} s"
            yield Rejected(Reason.TOO_LONG, f"{detail}; a call has {SLOTS}", str(text), 1, name)
            start = long.closing + 1
        else:
            yield _record(name, text, sound, channel, within, user, (start, end))
            start = end
        number += 1


def _turns(own: Sequence[Stretch], slots: int) -> list[_Turn]:
    turns: list[_Turn] = []
    for stretch in own:
        audible = int(stretch.start / SLOT_SECONDS)
        opening, closing = audible - 1 - DELAY, min(slots, -int(-stretch.end // SLOT_SECONDS))
        if turns and opening <= turns[-1].closing:
            before = turns.pop()
            opening, closing = before.opening, max(before.closing, closing)
            turns.append(_Turn(opening, closing, f"{before.text} {stretch.text}"))
        else:
            turns.append(_Turn(opening, closing, stretch.text))
    return turns


def _record(
    name: str,
    text: Path,
    sound: Path,
    channel: int,
    turns: Sequence[_Turn],
    user: Sequence[Stretch],
    place: tuple[int, int],
) -> Record:
    """Returns the call of the slots `place` of a recording."""
    start, end = place

    def part(which: int, first: int, last: int, words: str) -> Audio:
        seconds = (first * SLOT_SECONDS, last * SLOT_SECONDS)
        return Audio(
            path=str(sound), named=sound.name, channel=which, start=seconds[0], end=seconds[1], transcript=words
        )

    events = []
    for stretch in user:
        onset, stop = (round(seconds * RATE) - start * SLOT for seconds in (stretch.start, stretch.end))
        onset, stop = max(0, onset), min((end - start) * SLOT, stop)
        if onset < stop:
            events.append(Event(EventKind.SPEECH, onset, stop, stretch.text))
    asked = part(1 - channel, start, end, " ".join(event.text for event in events))
    replies = [
        Message("assistant", turn.text, part(channel, turn.opening + 1 + DELAY, turn.closing, turn.text))
        for turn in turns
    ]
    timed = tuple(TurnTiming(turn.opening - start, turn.closing - start) for turn in turns)
    timing = Timing(end - start, DELAY, timed, tuple(events))
    return Record(name, None, (Message("user", audio=asked), *replies), None, str(text), 1, timing=timing)
