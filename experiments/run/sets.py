"""The rows of a run made ready: prepared once, measured once, and those that are rejected in one file.

DATA_DIR/prepared/NAME-KEY/        shards of a set that is not prepared yet (`data_pipelines.prepare`), for all runs
DATA_DIR/prepared/lengths-KEY.npz  what the rows of a set take of a batch
WORKDIR/data.json                  which rows the run trains on
WORKDIR/quarantine.jsonl           rows that it does not train on, of which set, and why
"""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from etils import epath
from filelock import FileLock

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.prepare import flac, local
from data_pipelines.prepare.card import QUARANTINE
from data_pipelines.prepare.lengths import UNCHANGED, Lengths, survey
from data_pipelines.prepare.plan import MANIFEST, manifest
from data_pipelines.prepare.plan import survey as survey_rows
from data_pipelines.prepare.reading import INFO, read_prepared
from data_pipelines.prepare.settings import Settings, Source, digest
from data_pipelines.prepare.settings import load as load_tools
from data_pipelines.records.reject import Reason, Rejected, entry, rows_line
from experiments.run.schema import PREPARED, SetConfig
from fac_jax.batching.grid import ModelGrid
from fac_jax.batching.packing import Budget
from fac_jax.io import write_text
from fac_jax.types import InputError

ROWS_FILE: Final = "data.json"
DEPTH: Final = 16  # hexadecimal digits of a key


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedRows:
    """Rows of one split of a prepared folder, and what they take of a batch."""

    folder: Path
    split: str
    key: str  # equal for equal rows, wherever they lie, and only for those
    lengths: Lengths

    def wanted(self, pairs: bool) -> np.ndarray:
        """Returns which rows the model can take and are pairs, or conversations; bool `[R]`."""
        return (self.lengths.length > 0) & (self.lengths.pair == pairs)

    def fits(self, pairs: bool, budget: Budget) -> np.ndarray:
        """Returns which of the wanted rows fit a row of a batch; bool `[R]`."""
        return self.wanted(pairs) & budget.holds(self.lengths.length, self.lengths.windows)

    @property
    def records(self) -> Sequence[Any]:
        """Returns the records of all rows, each decoded when it is asked for."""
        return read_prepared(self.folder, self.split)

    def rejected(self) -> list[dict[str, Any]]:
        """Returns the rows that preparation rejected and those that the model cannot take, as lines of a quarantine."""
        lines = (self.folder / QUARANTINE).read_text(encoding="utf-8").splitlines()
        return [*map(json.loads, lines), *self.lengths.refused]

    def misfits(self, stage: str, pairs: bool, budget: Budget) -> Iterable[dict[str, Any]]:
        """Yields lines of a quarantine for the wanted rows that the batches of a stage cannot hold."""
        rows = read_prepared(self.folder, self.split, flac.silence)
        for i in np.flatnonzero(self.wanted(pairs) & ~self.fits(pairs, budget)):
            length, windows, row = self.lengths.length[i], self.lengths.windows[i], rows[int(i)]
            detail = (
                f"{length} LLM positions, {windows} windows; a row of stage {stage} has {budget.seq_len}, "
                f"{budget.windows_per_row}"
            )
            yield entry(Rejected(Reason.TOO_LONG, detail, row.file, row.line, row.id))


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSet:
    """The rows of a set to train and to evaluate on, and the changes of what users say in training."""

    name: str
    train: PreparedRows
    held_out: PreparedRows | None
    waves: WaveAugmentConfig

    def summary(self) -> str:
        """Returns how many rows the set has and how many were rejected for which reasons, on one line."""
        reasons = collections.Counter(line["reason"] for line in self.train.rejected())
        held_out = "" if self.held_out is None else f"; {int((self.held_out.lengths.length > 0).sum())} to evaluate on"
        rows = int((self.train.lengths.length > 0).sum())
        return f"{self.name}: {rows_line(rows, dict(sorted(reasons.items())))}{held_out}"


def make_set(
    name: str, config: SetConfig, settings: Settings, model: ModelGrid, data_dir: Path, processes: int
) -> RecordSet:
    """Prepares and measures the rows of a set, unless that was done before.

    Raises:
      InputError: the rows cannot be read, speech needs a codec that is not given, or has tokens of another one.
    """
    where = f"data.sets.{name}"
    source, held_out = config.source(where), config.eval_source(where)
    train = _rows(name, source, config.waves, settings, model, data_dir, processes)
    evals = None if held_out is None else _rows(name, held_out, UNCHANGED, settings, model, data_dir, processes)
    return RecordSet(name, train, evals, config.waves)


def _rows(
    name: str,
    source: Source,
    waves: WaveAugmentConfig,
    settings: Settings,
    model: ModelGrid,
    data_dir: Path,
    processes: int,
) -> PreparedRows:
    if source.format == PREPARED:
        folder, split = Path(source.path), source.split or "train"
    else:
        folder, split = _prepared(name, source, settings, data_dir, processes), "train"
    made_of, ours = json.loads((folder / MANIFEST).read_text(encoding="utf-8")), digest(settings.codec)
    if None not in (made_of["codec"], ours) and made_of["codec"] != ours:
        raise InputError(
            f"data.sets.{name}: {folder} was prepared with another codec than the model's: prepare it with that"
        )
    for one in made_of["sources"]:
        del one["path"], one["root"]  # its checksum says what it holds
    key = hashlib.sha256(json.dumps([made_of, split]).encode()).hexdigest()[:DEPTH]
    limits = load_tools(settings).limits
    limits = dataclasses.replace(limits, units=model.units, delay_groups=model.delay_groups)
    parts = [key, digest(settings.tokenizer), limits.units, limits.group_size, limits.delay_groups]
    lengthening = dataclasses.asdict(WaveAugmentConfig(speed=waves.speed, silence=waves.silence))
    parts += [model.n_window, lengthening, model.user_audio]
    file = data_dir / PREPARED / f"lengths-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:DEPTH]}.npz"
    if not file.exists():
        survey(folder, split, limits, model, waves).save(file)
    return PreparedRows(folder, split, key, Lengths.load(file))


def _prepared(name: str, source: Source, settings: Settings, data_dir: Path, processes: int) -> Path:
    plan = survey_rows([source], settings)
    key = json.dumps(manifest([source], settings, plan, local.WAY), sort_keys=True)
    out = data_dir / PREPARED / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:DEPTH]}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_suffix(".lock")):  # of runs that start at the same time, one prepares
        if not (out / INFO).is_file():
            local.prepare([source], out, settings, processes, plan)
    return out


def lock_rows(sets: Iterable[RecordSet], workdir: epath.Path) -> None:
    """Writes which rows a run uses, or checks that those that it has used already have not changed.

    Raises:
      InputError: a set has other rows than when the run started.
    """
    file = workdir / ROWS_FILE
    found = {
        one.name: {"folder": str(one.train.folder), "split": one.train.split, "key": one.train.key} for one in sets
    }
    before = json.loads(file.read_text()) if file.exists() else {}
    changed = [name for name, one in found.items() if name in before and before[name]["key"] != one["key"]]
    if changed:
        raise InputError(
            f"data.sets.{changed[0]}: its rows changed since the run in {workdir} started: restore them, or take "
            "another --workdir"
        )
    if found.keys() - before.keys():
        write_text(file, json.dumps(before | found, indent=2) + "\n")


def write_quarantine(workdir: epath.Path, rejected: Mapping[str, Sequence[Mapping[str, Any]]]) -> epath.Path:
    """Writes the rejected rows of every set into one file, and returns its path."""
    file = workdir / QUARANTINE
    lines = [{"set": name, **line} for name, found in rejected.items() for line in found]
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return file
