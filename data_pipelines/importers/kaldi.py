"""Kaldi's data folders: `wav.scp` and `text`, and `segments` of longer recordings if it exists."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from data_pipelines.importers.rows import first_word, lines
from data_pipelines.importers.transcripts import View, transcribed
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from fac_jax.types import InputError

SCP, TEXT, SEGMENTS = "wav.scp", "text", "segments"


def read(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields utterances in the order of `text`, then those missing from it. Line numbers refer to the file named.

    Args:
      path: the folder.
      root: folder of relative paths of recordings.
      view: see `transcripts.transcribed`.

    Raises:
      InputError: `wav.scp` or `text` cannot be read.
    """
    for name in (SCP, TEXT):
        if not (path / name).is_file():
            raise InputError(f"{path}: no {name} there; a Kaldi folder has {SCP} and {TEXT}")
    recordings, wrong = _table(path / SCP)
    segments, bad = _table(path / SEGMENTS) if (path / SEGMENTS).is_file() else (None, [])
    yield from itertools.chain(wrong, bad)
    seen: set[str] = set()
    for found in lines(path / TEXT):
        if isinstance(found, Rejected):
            yield found
            continue
        number, line = found
        name, text = first_word(line)
        seen.add(name)
        try:
            audio = _audio(name, recordings, segments, root, text)
            yield transcribed(name, audio, text, str(path / TEXT), number, view)
        except RejectedError as refused:
            yield Rejected(refused.reason, refused.detail, str(path / TEXT), number, name)
    file = path / (SCP if segments is None else SEGMENTS)
    for name, (number, _) in (recordings if segments is None else segments).items():
        if name not in seen:
            yield Rejected(Reason.MISSING_KEY, f"no line in {TEXT}", str(file), number, name)


def _table(file: Path) -> tuple[dict[str, tuple[int, str]], list[Rejected]]:
    """Line numbers and values by the first word of the lines, and rejections of unreadable lines."""
    found, bad = {}, []
    for line in lines(file):
        if isinstance(line, Rejected):
            bad.append(line)
            continue
        name, value = first_word(line[1])
        found[name] = (line[0], value)
    return found, bad


def _audio(
    name: str,
    recordings: Mapping[str, tuple[int, str]],
    segments: Mapping[str, tuple[int, str]] | None,
    root: Path,
    text: str,
) -> Audio:
    start, end, recording = 0.0, None, name
    if segments is not None:
        if name not in segments:
            raise RejectedError(Reason.MISSING_AUDIO, f"no line in {SEGMENTS}")
        try:
            recording, first, last = segments[name][1].split()
            start, end = float(first), float(last)
        except ValueError:
            detail = f"line {segments[name][0]} of {SEGMENTS} is not: utterance recording start end"
            raise RejectedError(Reason.MALFORMED, detail) from None
    named = recordings.get(recording, (0, ""))[1]
    if not named:
        raise RejectedError(Reason.MISSING_AUDIO, f"no recording {recording} in {SCP}")
    if named.endswith("|"):
        raise RejectedError(
            Reason.MISSING_AUDIO, f"{SCP} holds a command, not a file: {named[:60]}; write its output to files"
        )
    end = None if end is not None and end < 0 else end  # Kaldi writes -1 for the end of the recording
    return Audio(path=joined(root, named), named=named, start=start, end=end, transcript=text)
