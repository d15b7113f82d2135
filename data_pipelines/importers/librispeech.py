"""LibriSpeech as it is unpacked: `LibriSpeech/SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER.trans.txt` and FLAC files."""

from collections.abc import Iterator
from pathlib import Path

from data_pipelines.importers.rows import first_word, lines
from data_pipelines.importers.transcripts import View, transcribed
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Rejected, RejectedError
from fac_jax.types import InputError

TRANSCRIPTS = "*.trans.txt"


def read(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields the utterances of all chapters in a folder (of the archive, a subset or a speaker), sorted by name.

    Transcripts keep their capitals. `root` is not used: recordings are in the folders of their transcripts.

    Raises:
      InputError: the folder holds no chapter.
    """
    chapters = sorted(path.rglob(TRANSCRIPTS))
    if not chapters:
        raise InputError(f"{path}: no {TRANSCRIPTS} below it, as LibriSpeech has")
    for chapter in chapters:
        for found in lines(chapter):
            if isinstance(found, Rejected):
                yield found
                continue
            number, line = found
            name, text = first_word(line)
            audio = Audio(path=str(chapter.parent / f"{name}.flac"), named=f"{name}.flac", transcript=text)
            try:
                yield transcribed(name, audio, text, str(chapter), number, view)
            except RejectedError as refused:
                yield Rejected(refused.reason, refused.detail, str(chapter), number, name)
