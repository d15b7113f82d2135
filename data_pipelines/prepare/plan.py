"""The plan of a preparation: a first pass over the sources, and the manifest that the output folder must match."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from data_pipelines.importers.registry import count, read
from data_pipelines.paths import data_path, file_size, local_path
from data_pipelines.prepare.settings import Settings, Source, digest
from data_pipelines.records.record import SCHEMA_VERSION, Record
from data_pipelines.records.reject import Reason, Rejected, unnamed
from data_pipelines.records.validate import Limits, validate
from fac_jax.io import write_text
from fac_jax.progress import passing
from fac_jax.types import InputError

MANIFEST: Final = "manifest.json"
DEPTH: Final = 16  # bytes of a checksum
PATHS: Final = ("file", "path")  # fields of rows
Place: TypeAlias = tuple[int, int]  # place of a row: its source, and its number in the source
Placed: TypeAlias = tuple[Place, Record | Rejected]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Totals of the sources: a checksum of the rows of each, rows by split, and the ids that several rows have."""

    checksums: tuple[str, ...]
    rows: Mapping[str, int]
    repeated: frozenset[str]


class Repeats:
    """Keeps the first good row of those with the same id."""

    def __init__(self, repeated: Iterable[str], limits: Limits) -> None:
        """Takes the ids that occur several times, and the limits of good rows."""
        self._open, self._limits = set(repeated), limits
        self._settled: set[str] = set()

    def __call__(self, row: Record | Rejected) -> Record | Rejected:
        """The row, or its rejection if a good row with its id came earlier; rows are passed in order."""
        if isinstance(row, Record) and row.id in self._settled:
            return Rejected(Reason.DUPLICATE_ID, f"id {row.id}", row.file, row.line, row.id)
        if isinstance(row, Record) and row.id in self._open:
            (checked,) = validate([row], self._limits)
            if isinstance(checked, Record):
                self._settled.add(row.id)
        return row


def placed(sources: Sequence[Source]) -> Iterator[Placed]:
    """Yields the rows of all sources in order, each with its place; raises as `read`."""
    for number, source in enumerate(sources):
        yield from placed_of(number, source)


def placed_of(number: int, source: Source) -> Iterator[Placed]:
    """Yields the rows of source number `number`, each with its place; raises as `placed`."""
    for row, found in enumerate(read(source.path, source.format, source.root, source.view, source.split)):
        yield (number, row), found


def refuse_unnamed(row: Record | Rejected) -> None:
    """Raises InputError for a repeated id that was made of file and line: it would be mistaken for a repeated row."""
    if isinstance(row, Record) and row.id == unnamed(Path(row.file), row.line):
        raise InputError(
            f"{row.file}:{row.line}: another file of this name has rows without id too, or the id {row.id}: "
            "rename one of the files, or give the rows ids"
        )


def split_of(row: Record | Rejected, splits: Sequence[tuple[str, int]]) -> str:
    """The split of a row, decided by its id only; a row without a record counts for the first split."""
    if isinstance(row, Rejected):
        return splits[0][0]
    total = sum(weight for _, weight in splits)
    drawn = int.from_bytes(hashlib.sha256(_encoded(row.id)).digest()[:8]) % total
    for name, weight in splits:
        if drawn < weight:
            return name
        drawn -= weight
    raise AssertionError("weights do not add up to their sum")


def survey(sources: Sequence[Source], settings: Settings) -> Plan:
    """Reads all rows once, without their audio files, and shows progress.

    Raises:
      InputError: a source cannot be read, no source has a row, or rows without ids in files of one name would get the
        same ids.
    """
    counts = [count(data_path(source.path)) for source in sources]
    known = [found for found in counts if found is not None]
    watch = passing("reading", sum(known) if len(known) == len(counts) else None)
    sums = [hashlib.sha256() for _ in sources]
    rows = {name: 0 for name, _ in settings.splits}
    seen: set[bytes] = set()
    repeated: set[str] = set()
    for (source, _), row in watch(placed(sources)):
        sums[source].update(fingerprint(row))
        rows[split_of(row, settings.splits)] += 1
        if isinstance(row, Rejected):
            continue
        name = hashlib.sha256(_encoded(row.id)).digest()[:DEPTH]
        if name in seen:
            refuse_unnamed(row)
            repeated.add(row.id)
        seen.add(name)
    if not any(rows.values()):
        raise InputError(f"{', '.join(source.path for source in sources)}: no row there")
    return Plan(tuple(found.hexdigest()[: 2 * DEPTH] for found in sums), rows, frozenset(repeated))


def fingerprint(row: Record | Rejected) -> bytes:
    """A checksum of all fields of a row, of samples and bytes in it, and of the sizes of its audio files.

    Of paths only the file's name counts, so that rows in a folder that was moved are the same rows.
    """
    whole = hashlib.sha256()

    def add(value: Any) -> None:
        if dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                found = getattr(value, field.name)
                add(Path(found).name if field.name in PATHS and found is not None else found)
        elif isinstance(value, tuple):
            whole.update(f"({len(value)}".encode())
            for one in value:
                add(one)
        else:
            if isinstance(value, np.ndarray):
                data = np.ascontiguousarray(value).tobytes()
            else:
                data = value if isinstance(value, bytes) else _encoded(str(value))
            whole.update(f"{type(value).__name__}{len(data)}:".encode() + data)

    add(row)
    for audio in () if isinstance(row, Rejected) else row.audios:
        add(_size(audio.path))
    return whole.digest()


def manifest(sources: Sequence[Source], settings: Settings, plan: Plan, way: str) -> dict[str, Any]:
    """Everything that the shards depend on, as JSON values; `way` names the writer."""
    values = {
        **dataclasses.asdict(settings),
        "codec": digest(settings.codec),
        "tokenizer": digest(settings.tokenizer),
        "sources": [
            {**dataclasses.asdict(source), "checksum": checksum}
            for source, checksum in zip(sources, plan.checksums, strict=True)
        ],
        "schema": SCHEMA_VERSION,
        "way": way,
    }
    return json.loads(json.dumps(values))


def lock_config(out: Path, wanted: Mapping[str, Any]) -> None:
    """Creates the output folder with its manifest, or checks that an existing folder has the same manifest.

    Raises:
      InputError: the folder holds something different, or cannot be created; names the differences.
    """
    local_path(out, "shards are written by array_record, which needs a local folder")
    file = out / MANIFEST
    try:
        out.mkdir(parents=True, exist_ok=True)
        others = sorted(found.name for found in out.iterdir() if not found.name.startswith("."))
        if others in ([], [MANIFEST]):  # nothing is finished yet
            write_text(file, json.dumps(wanted, indent=1, ensure_ascii=False))
            return
        stored = file.read_bytes() if MANIFEST in others else None
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None
    if stored is None:
        raise InputError(f"{out}: holds {others[0]} and no {MANIFEST}: name another --out")
    try:
        there = json.loads(stored)
    except ValueError:
        raise InputError(f"{file}: is damaged: give another --out") from None
    differ = list(_differences("", there, wanted))
    if differ:
        raise InputError(f"{out}: was prepared with other settings: {'; '.join(differ)}; give another --out")


def _differences(name: str, there: Any, here: Any) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in sorted(there.keys() | here.keys()):
            yield from _differences(f"{name}.{key}" if name else key, there.get(key), here.get(key))
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for number, (old, new) in enumerate(zip(there, here, strict=True)):
            yield from _differences(f"{name}.{number}", old, new)
    elif there != here:
        yield f"{name} was {json.dumps(there)}, is {json.dumps(here)}"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _size(path: str | None) -> int | None:
    try:
        return None if path is None else file_size(path)
    except (OSError, ValueError):
        return None
