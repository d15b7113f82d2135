"""Spans of speech and timed words of a call; all times are seconds of its one clock."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Segment(NamedTuple):
    """A span of speech."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


class Word(NamedTuple):
    """A word that was heard, with its time."""

    text: str
    start: float
    end: float


def merge(segments: Iterable[Segment], gap: float) -> list[Segment]:
    """Returns segments in order of time, joined where the pause between two is at most `gap` seconds."""
    merged: list[Segment] = []
    for segment in sorted(segments):
        if merged and segment.start - merged[-1].end <= gap:
            merged[-1] = Segment(merged[-1].start, max(merged[-1].end, segment.end))
        else:
            merged.append(segment)
    return merged


def words_after(words: Iterable[Word], time: float) -> list[Word]:
    """Returns the words that are heard if all before `time` is cut away; a word across the cut begins at it."""
    return [word._replace(start=max(word.start, time)) for word in words if word.end > time]


def words_within(words: Iterable[Word], segment: Segment) -> list[Word]:
    """Returns the words of which some part is heard within a segment."""
    return [word for word in words if word.start <= segment.end and word.end > segment.start]


def span(words: Sequence[Word]) -> float:
    """Returns the seconds from the start of the first word to the end of the last; 0 for no words."""
    return words[-1].end - words[0].start if words else 0.0
