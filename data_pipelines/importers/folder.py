"""A folder of recordings, each with its transcript in a text file of the same name next to it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from data_pipelines.importers.transcripts import View, transcribed
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Reason, Rejected, RejectedError
from fac_jax.audio.io import ENDINGS, recordings
from fac_jax.types import InputError

TRANSCRIPT: Final = ".txt"


def read(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
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
