"""Common Voice as it is unpacked: `clips/*.mp3` next to `train.tsv`, `dev.tsv`, `test.tsv`, .."""

from collections.abc import Iterator
from pathlib import Path

from data_pipelines.importers.manifest import table_rows
from data_pipelines.importers.rows import JsonRow, parsed, string
from data_pipelines.importers.transcripts import View, transcribed
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import Rejected
from fac_jax.types import InputError

CLIPS, TRAIN = "clips", "train.tsv"


def read(path: Path, root: Path, view: View = "asr") -> Iterator[Record | Rejected]:
    """Yields the clips of a table, in its order.

    Args:
      path: a language's folder, whose `train.tsv` is read, or one of its tables.
      root: unused.
      view: see `transcripts.transcribed`.

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
