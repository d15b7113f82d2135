"""Recordings with transcripts as they lie in folders: of any origin, LibriSpeech, Common Voice, Kaldi."""

import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from data_pipelines.importers.manifest import table_rows
from data_pipelines.importers.rows import JsonRow, View, first_word, lines, parsed, string, transcribed
from data_pipelines.paths import joined
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from fac_jax.audio.io import ENDINGS, recordings
from fac_jax.types import InputError

TRANSCRIPT: Final = ".txt"  # of a recording in a folder
TRANSCRIPTS: Final = "*.trans.txt"  # of a chapter of LibriSpeech
CLIPS, TRAIN = "clips", "train.tsv"  # of Common Voice
SCP, TEXT, SEGMENTS = "wav.scp", "text", "segments"  # of Kaldi


def read_folder(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields the recordings in a folder and its subfolders, sorted by name; the id is the name without its ending.

    Raises:
      InputError: the folder holds no recording.
    """
    files = recordings(path)
    if not files:
        raise InputError(f"{path}: no recording below it ({', '.join(ENDINGS)})")
    for number, file in enumerate(files, 1):
        named = str(file.relative_to(path))
        name = str(file.relative_to(path).with_suffix(""))
        try:
            text = _transcript(file.with_suffix(TRANSCRIPT))
            audio = Audio(path=str(file), named=named, transcript=text)
            yield transcribed(name, audio, text, str(path), number, view)
        except RejectedError as refused:
            yield Rejected(refused.reason, refused.detail, str(path), number, name)


def _transcript(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig").strip()
    except OSError:
        raise RejectedError(Reason.MISSING_KEY, f"no transcript {file.name} next to it") from None
    except UnicodeDecodeError as error:
        raise RejectedError(Reason.BAD_UTF8, f"{file.name}: {error.reason}") from None


def read_librispeech(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields the utterances of all chapters in a folder (of the archive, a subset or a speaker), sorted by name.

    Transcripts keep their capitals. `root` is not used: recordings are in the folders of their transcripts.

    Raises:
      InputError: the folder holds no chapter.
    """
    chapters = sorted(path.rglob(TRANSCRIPTS))
    if not chapters:
        raise InputError(f"{path}: no {TRANSCRIPTS} below it, as LibriSpeech has")

    def parse(chapter: Path, line: str, number: int) -> Record:
        name, text = first_word(line)
        audio = Audio(path=str(chapter.parent / f"{name}.flac"), named=f"{name}.flac", transcript=text)
        return transcribed(name, audio, text, str(chapter), number, view)

    for chapter in chapters:
        yield from parsed(chapter, lines(chapter), functools.partial(parse, chapter))


def read_common_voice(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields the clips of a table, or of a language's folder, whose `train.tsv` is read, in order; `root` is not used.

    Raises:
      InputError: the table does not exist.
    """
    table = path / TRAIN if path.is_dir() else path
    if not table.is_file():
        raise InputError(f"{path}: no {TRAIN} there; give the language's folder or one of its tables")

    def parse(row: JsonRow, number: int) -> Record:
        named, text = string(row, "path"), string(row, "sentence")
        clip = named if Path(named).suffix else f"{named}.mp3"  # the first releases left the ending out
        audio = Audio(path=str(table.parent / CLIPS / clip), named=named, transcript=text)
        return transcribed(Path(named).stem, audio, text, str(table), number, view)

    return parsed(table, table_rows(table), parse)


def read_kaldi(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields utterances in the order of `text`, then those missing from it. Line numbers refer to the file named.

    Raises:
      InputError: `wav.scp` or `text` cannot be read.
    """
    for name in (SCP, TEXT):
        if not (path / name).is_file():
            raise InputError(f"{path}: no {name} there; a Kaldi folder has {SCP} and {TEXT}")
    recordings, wrong = _kaldi_table(path / SCP)
    segments, bad = _kaldi_table(path / SEGMENTS) if (path / SEGMENTS).is_file() else (None, [])
    yield from itertools.chain(wrong, bad)
    seen: set[str] = set()

    def parse(line: str, number: int) -> Record:
        name, text = first_word(line)
        seen.add(name)
        audio = _kaldi_audio(name, recordings, segments, root, text)
        return transcribed(name, audio, text, str(path / TEXT), number, view)

    yield from parsed(path / TEXT, lines(path / TEXT), parse)
    file = path / (SCP if segments is None else SEGMENTS)
    for name, (number, _) in (recordings if segments is None else segments).items():
        if name not in seen:
            yield Rejected(Reason.MISSING_KEY, f"no line in {TEXT}", str(file), number, name)


def _kaldi_table(file: Path) -> tuple[dict[str, tuple[int, str]], list[Rejected]]:
    """Line numbers and values by the first word of the lines, and rejections of unreadable lines."""
    found, bad = {}, []
    for line in lines(file):
        if isinstance(line, Rejected):
            bad.append(line)
            continue
        name, value = first_word(line[1])
        found[name] = (line[0], value)
    return found, bad


def _kaldi_audio(
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
