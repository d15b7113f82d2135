"""Preparation with Apache Beam on any of its runners: the same function of rows, the same output folder.

Every worker must see the sources, their audio files, the codec and the output under the same paths.
"""

import contextlib
import functools
import hashlib
import importlib.util
import io
import json
import operator
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import tensorflow_datasets as tfds
from threadpoolctl import threadpool_limits

from data_pipelines.prepare.card import Tally, finish, tally
from data_pipelines.prepare.plan import (
    Place,
    Placed,
    Plan,
    Repeats,
    lock_config,
    manifest,
    placed_of,
    refuse_unnamed,
    split_of,
)
from data_pipelines.prepare.reading import DESCRIPTION, INFO, VERSION, features, to_columns
from data_pipelines.prepare.rows import TOGETHER
from data_pipelines.prepare.rows import prepare as prepare_rows
from data_pipelines.prepare.settings import Settings, Source, Tools, load
from data_pipelines.records.reject import Rejected, entry
from fac_jax.types import InputError

WAY: Final = "beam"
SCRATCH: Final = ".beam"
ACCOUNT: Final = "account.json"
Refused: TypeAlias = tuple[list[int], dict[str, Any]]  # place of a row, its line of the quarantine
Account: TypeAlias = tuple[Tally, list[Refused]]
Done: TypeAlias = tuple[str, str, dict[str, Any] | None, Account]  # split, id, columns of a good row, its account


class PreparedRows(tfds.core.GeneratorBasedBuilder):
    """Writes the rows of a pipeline; tfds shuffles them by their ids."""

    VERSION = tfds.core.Version(VERSION)

    def __init__(self, sources: Sequence[Source], settings: Settings, scratch: Path, **kwargs: Any) -> None:
        self._sources, self._settings, self._scratch = tuple(sources), settings, scratch
        super().__init__(file_format="array_record", data_dir=scratch, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(description=DESCRIPTION, features=features())

    def _split_generators(self, dl_manager: tfds.download.DownloadManager, pipeline: Any) -> dict[str, Any]:
        beam, settings = _beam(), self._settings
        done = (
            pipeline
            | "sources" >> beam.Create(list(enumerate(self._sources)))
            | "read" >> beam.FlatMap(_by_id)
            | "same ids" >> beam.GroupByKey()
            | "first good" >> beam.FlatMap(_first_good, settings)
            | "some" >> beam.BatchElements(min_batch_size=TOGETHER, max_batch_size=TOGETHER)
            | "prepare" >> beam.FlatMap(_prepared, settings)
        )
        _ = (
            done
            | "accounts" >> beam.Map(operator.itemgetter(3))
            | "sum" >> beam.CombineGlobally(_summed)
            | "save" >> beam.Map(_save, str(self._scratch / ACCOUNT))
        )
        return {split: self._generate_examples(done, split) for split, _ in settings.splits}

    def _generate_examples(self, done: Any, split: str) -> Any:
        return done | f"of {split}" >> _beam().FlatMap(_example, split)


def prepare(sources: Sequence[Source], out: Path, settings: Settings, options: Sequence[str]) -> dict[str, Any]:
    """Writes the rows of all sources into a folder, unless it is finished already; `options` are Beam's.

    Returns the values of the card.

    Raises:
      InputError: Beam is not installed, or the folder holds something different.
    """
    beam, tools = _beam(), load(settings)
    plan = Plan(tuple(_sizes(source) for source in sources), {}, frozenset())
    lock_config(out, manifest(sources, settings, plan, WAY))
    scratch = out / SCRATCH
    if (out / INFO).is_file():
        return json.loads((out / "card.json").read_text(encoding="utf-8"))
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    builder = PreparedRows(sources, settings, scratch)
    config = tfds.download.DownloadConfig(beam_options=beam.options.pipeline_options.PipelineOptions(list(options)))
    with contextlib.redirect_stdout(io.StringIO()):  # tfds prints that it downloads, which it does not
        builder.download_and_prepare(download_config=config)
    made = sorted(Path(builder.data_dir).iterdir(), key=lambda file: file.name == INFO)
    counts, refused = json.loads((scratch / ACCOUNT).read_text(encoding="utf-8"))
    shards = {file.name: _checksum(file) for file in made if file.suffix != ".json"}
    size = sum(file.stat().st_size for file in made if file.suffix != ".json")
    card = finish(out, Counter(counts), refused, shards, size, tools)
    for file in made:
        file.replace(out / file.name)
    shutil.rmtree(scratch)
    return card


def _beam() -> Any:
    if importlib.util.find_spec("apache_beam") is None:
        raise InputError("--beam needs Apache Beam in a separate environment: pip install -e '.[beam]'")
    return tfds.core.lazy_imports.apache_beam


@functools.lru_cache(maxsize=1)
def _tools(settings: Settings) -> Tools:
    """Loads the tools once in every process of a runner."""
    return load(settings)


def _by_id(numbered: tuple[int, Source]) -> Iterator[tuple[str, Placed]]:
    """Yields every row with its id as key, and a rejected row with its place, which is unique."""
    for place, row in placed_of(*numbered):
        yield (f"bad {place}" if isinstance(row, Rejected) else f"id {row.id}"), (place, row)


def _first_good(named: tuple[str, Iterable[Placed]], settings: Settings) -> Iterator[Placed]:
    rows = sorted(named[1], key=lambda found: found[0])
    ids = {row.id for _, row in rows if not isinstance(row, Rejected)} if len(rows) > 1 else set()
    kept = Repeats(ids, _tools(settings).limits)
    for place, row in rows:
        if ids:
            refuse_unnamed(row)
        yield place, kept(row)


def _prepared(some: Sequence[Placed], settings: Settings) -> list[Done]:
    tools = _tools(settings)
    with threadpool_limits(1):
        found = prepare_rows([row for _, row in some], tools)
    return [_done(place, given, row, tools, settings) for (place, given), row in zip(some, found, strict=True)]


def _done(place: Place, given: Any, row: Any, tools: Tools, settings: Settings) -> Done:
    split = split_of(given, settings.splits)
    counts = tally(row, split, tools)
    if isinstance(row, Rejected):
        return split, "", None, (counts, [(list(place), entry(row))])
    return split, row.record.id, to_columns(row), (counts, [])


def _example(done: Done, split: str) -> list[tuple[str, dict[str, Any]]]:
    of, name, columns, _ = done
    return [(name, columns)] if of == split and columns is not None else []


def _summed(accounts: Iterable[Account]) -> Account:
    counts: Tally = Counter()
    refused: list[Refused] = []
    for some, lines in accounts:
        counts += some
        refused += lines
    return counts, refused


def _save(account: Account, file: str) -> None:
    Path(file).write_text(json.dumps(account), encoding="utf-8")


def _sizes(source: Source) -> str:
    """A checksum of the names and sizes of a source's files."""
    path = Path(source.path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    listing = "".join(f"{file.relative_to(path)} {file.stat().st_size}\n" for file in files)
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
