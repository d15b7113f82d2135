"""Reading a benchmark from its folder."""

import collections
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_pipelines.benchmarks.base import DataSet, Row, adapted, fields_of, first_of, missing
from data_pipelines.benchmarks.items import AudioFile, AudioRef, Item, ItemSet
from data_pipelines.benchmarks.reading import located
from fac_jax.types import InputError

REVISION = re.compile(r"[0-9a-f]{40}")


class AbsentError(InputError):
    """A data set is not in the folder that was given."""


def load_items(benchmark: DataSet, root: Path) -> ItemSet:
    """Reads the rows of a benchmark from its folder; no audio is read.

    Raises:
      AbsentError: the data set is not there; names the first file that was looked for.
      InputError: a file of it cannot be read, a row lacks a column, or there is no row.
    """
    items: list[Item] = []
    left_out: dict[str, str] = {}
    names = Names()
    for number, found in enumerate(_found(benchmark, root)):
        row = adapted(benchmark, found)
        fields = fields_of(benchmark, row)
        name = names.unique(row_key(row, benchmark.key) or str(number))
        if (cause := benchmark.left_out(fields)) is not None:
            left_out[name] = cause
        elif (audio := audio_of(benchmark, row, root)) is not None:
            items.append(Item(name, audio, fields))
        else:
            raise missing(row, benchmark.audio)
    rows = len(items) + len(left_out)
    if not rows:
        raise InputError(f"{benchmark.name}: its files in {root} hold no row")
    return ItemSet(benchmark.name, tuple(items), rows, benchmark.expected, left_out, _revision(root))


def _found(benchmark: DataSet, root: Path) -> Iterator[Row]:
    for layout in benchmark.layouts:
        if files := sorted(root.glob(layout.files)):
            return layout.read(files)
    family = benchmark.name.partition("/")[0]
    raise AbsentError(
        f"{family}: {root / benchmark.layouts[0].files} not found; "
        f"download {benchmark.source} there, or score a file of predictions (experiments.score)"
    )


def row_key(row: Row, columns: Sequence[str]) -> str | None:
    """The id that a row holds in the first of the columns that it has; None if it has none.

    Raises:
      InputError: the id is neither a text nor a whole number.
    """
    found = first_of(row.values, columns)
    if found is None:
        return None
    name, value = found
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InputError(f"{row.place}: column {name} is {value!r}: must be a text or a whole number")
    return str(value)


class Names:
    """Makes ids unique: the second row with the id "a" becomes "a#2"."""

    def __init__(self) -> None:
        self._rows: collections.Counter[str] = collections.Counter()

    def unique(self, name: str) -> str:
        """The name itself when it comes for the first time, then with a number."""
        self._rows[name] += 1
        return name if self._rows[name] == 1 else f"{name}#{self._rows[name]}"


def audio_of(benchmark: DataSet, row: Row, root: Path) -> AudioRef | None:
    """The audio of a row: that of its file format, or the file that it names; None if it names none.

    Raises:
      InputError: the name is no text.
    """
    found = first_of(row.values, benchmark.audio)
    if row.audio is not None or found is None:
        return row.audio
    name, value = found
    named = value[0] if isinstance(value, list) and len(value) == 1 else value
    if not isinstance(named, str):
        raise InputError(f"{row.place}: column {name} is {value!r}: must be the path of one file")
    # SpeechFC names "wav/SUBSET/x.wav" and OpenAudioBench "x.mp3" what lies in these subfolders.
    return AudioFile(located(named, row.folder, root, row.folder / "wav", row.folder / "audios"))


def _revision(root: Path) -> str | None:
    """The commit that a download from Hugging Face leaves in the name of its folder, or beside the files."""
    if REVISION.fullmatch(root.resolve().name):
        return root.resolve().name
    for file in sorted((root / ".cache" / "huggingface" / "download").rglob("*.metadata")):
        return file.read_text(encoding="utf-8").partition("\n")[0]
    return None
