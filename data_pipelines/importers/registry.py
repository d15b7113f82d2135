"""The formats by name, and recognition of the format of a path."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from data_pipelines.importers import calls, catalogue, corpora, fisher, llama_factory, manifest, parquet, release
from data_pipelines.importers.rows import VIEWS as HEARD_OR_SPOKEN
from data_pipelines.importers.rows import JsonRow, json_rows
from data_pipelines.paths import data_path, is_remote, local_path
from data_pipelines.prepare import reading
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected
from data_pipelines.worlds import views
from data_pipelines.worlds.storage import is_toy_world
from fac_jax.audio.io import recordings
from fac_jax.types import InputError

# (path, root); also `view` of TRANSCRIBED, `split` of SPLIT
Reader: TypeAlias = Callable[..., Iterator[Record | Rejected]]
FORMATS: Final[Mapping[str, Reader]] = {
    "release": release.read,
    "preference": release.read_pairs,
    "llama-factory": llama_factory.read,
    "trl": llama_factory.read_trl,
    "manifest-jsonl": manifest.read_jsonl,
    "manifest-csv": manifest.read_table,
    "audio-folder": corpora.read_folder,
    "kaldi": corpora.read_kaldi,
    "spoken-alpaca": parquet.read_spoken,
    "audio-parquet": parquet.read_audio,
    "librispeech": corpora.read_librispeech,
    "common-voice": corpora.read_common_voice,
    "tfds": catalogue.read,
    "calls": calls.read,
    "fisher": fisher.read,
    "prepared": reading.read_split,
    "toy_world": views.read,
}
# Recordings with transcripts, which can be heard or spoken.
TRANSCRIBED: Final = (
    *("manifest-jsonl", "manifest-csv", "audio-folder", "kaldi"),
    *("audio-parquet", "librispeech", "common-voice", "tfds"),
)
# The views of every format that has several; the others have none to choose.
VIEWS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(TRANSCRIBED, HEARD_OR_SPOKEN),
    "toy_world": tuple(views.VIEWS),
}
NO_VIEW: Final = "asr"  # what a format without views is given
SPLIT: Final = ("tfds", "calls", "prepared", "toy_world")  # folders of several splits
# Formats that cannot be read from URLs.
LOCAL: Final = ("audio-folder", "fisher", "librispeech", "common-voice", "tfds", "prepared", "toy_world")
GUESSED_FROM: Final = 100  # rows


def read(
    path: str | os.PathLike[str],
    format: str | None = None,
    root: str | os.PathLike[str] | None = None,
    view: str = NO_VIEW,
    split: str | None = None,
) -> Iterator[Record | Rejected]:
    """Yields the rows of a file or folder, each as a record or as a rejection with its reason.

    Args:
      path: file or folder.
      format: key of `FORMATS`; None guesses it.
      root: folder of relative audio paths; None for the file's folder, or the folder itself.
      view: one of `VIEWS[format]`: "asr" or "tts" of recordings with transcripts, a task of the toy world.
      split: split of a folder with several; None for all, or for "train" of the toy world.

    Raises:
      InputError: there is no such path or format, the format cannot be recognised or has no such view or no splits, or
        (while iterating) the file cannot be read.
    """
    path = data_path(path)
    name = format_of(path, format)
    check_options(name, view, split)
    start = (path if path.is_dir() else path.parent) if root is None else data_path(root)
    options: dict[str, Any] = {}
    if name in VIEWS:
        options["view"] = view
    if name in SPLIT:
        options["split"] = split
    return FORMATS[name](path, start, **options)


def check_options(format: str, view: str, split: str | None) -> None:
    """Raises InputError for a view or a split that a format does not have."""
    known = VIEWS.get(format, (NO_VIEW,))
    if view not in known:
        if format in VIEWS:
            raise InputError(f"unknown view {view!r} of the format {format}; known: {', '.join(known)}")
        raise InputError(
            f"view {view!r} is for recordings with transcripts and the toy world ({', '.join(VIEWS)}), not {format}"
        )
    if split is not None and format not in SPLIT:
        raise InputError(f"split {split!r}: the format {format} has no splits; name the files of one")


def format_of(path: Path, format: str | None) -> str:
    """The named format, or the only one that the path can have.

    Raises:
      InputError: there is no such path or format, or it cannot be recognised.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if format is not None and format not in FORMATS:
        raise InputError(f"unknown format {format!r}; known: {', '.join(FORMATS)}")
    if is_remote(path) and (path.is_dir() or format in LOCAL):
        local_path(path, f"folders, and the formats {', '.join(LOCAL)}, are read by libraries that need local files")
    return guess(path) if format is None else format


def count(path: Path) -> int | None:
    """About how many rows a file has, for a progress bar; None if only reading can tell.

    Raises:
      InputError: it cannot be read.
    """
    if path.suffix == ".parquet":
        return parquet.count(path)
    if path.suffix in (".jsonl", ".csv", ".tsv"):
        try:
            with path.open("rb") as file:
                return sum(1 for _ in file)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    return None


def guess(path: Path) -> str:
    """The only format that a path can have; raises InputError if several or none fit, and names them."""
    found = _folder(path) if path.is_dir() else _file(path)
    if len(found) != 1:
        known = f"it could be {' or '.join(sorted(found))}" if found else f"known: {', '.join(FORMATS)}"
        raise InputError(f"{path}: its format cannot be recognised; name it with --format ({known})")
    return found.pop()


def _folder(path: Path) -> set[str]:
    tests = {
        "kaldi": (path / corpora.SCP).is_file(),
        "calls": calls.is_calls(path),
        "prepared": reading.is_prepared(path),
        "toy_world": is_toy_world(path),
        "tfds": (path / catalogue.INFO).is_file() and not reading.is_prepared(path) and not is_toy_world(path),
        "common-voice": (path / corpora.CLIPS).is_dir() and any(path.glob("*.tsv")),
        "librispeech": next(path.rglob(corpora.TRANSCRIPTS), None) is not None,
    }
    tables = sorted(path.glob("*.parquet"))
    found = {name for name, fits in tests.items() if fits} | (_parquet(tables[0]) if tables else set())
    if found:
        return found
    transcribed = (file.with_suffix(corpora.TRANSCRIPT).is_file() for file in recordings(path))
    return {"audio-folder"} if any(transcribed) else set()


def _file(path: Path) -> set[str]:
    if path.suffix == ".parquet":
        return _parquet(path)
    if path.suffix == ".csv":
        return {"manifest-csv"}
    if path.suffix == ".tsv":
        return {"common-voice" if (path.parent / corpora.CLIPS).is_dir() else "manifest-csv"}
    if path.suffix in (".jsonl", ".json"):
        rows = (found[1] for found in json_rows(path) if not isinstance(found, Rejected))
        return set(filter(None, map(_row, itertools.islice(rows, GUESSED_FROM))))
    return set()


def _parquet(file: Path) -> set[str]:
    names = set(parquet.columns(file))
    if set(parquet.SPOKEN) <= names:
        return {"spoken-alpaca"}
    return {"audio-parquet"} if "audio" in names and names & set(manifest.TEXT_KEYS) else set()


def _row(row: JsonRow) -> str | None:
    """The format that the keys of a row fit; None if they fit none."""
    pair = "chosen" in row and "rejected" in row
    if "messages" in row and isinstance(row.get("audio"), list):
        return "preference" if pair else "release"
    if "turns" in row and "slots" in row:
        return "calls"
    if "conversations" in row or ("messages" in row and "audios" in row):
        return "llama-factory"
    if pair and "messages" not in row:
        return "trl"
    recorded = any(key in row for key in manifest.AUDIO_KEYS) and any(key in row for key in manifest.TEXT_KEYS)
    return "manifest-jsonl" if recorded and "messages" not in row else None
