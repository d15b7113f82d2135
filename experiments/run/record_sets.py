"""Users' rows made ready to be trained on: prepared once, measured once, those that are refused in one file.

DATA_DIR/prepared/NAME-KEY/      shards of a set that is not prepared yet (`data_pipelines.prepare`), for all runs
DATA_DIR/prepared/lengths-KEY.npz  what the rows of a set take of a batch
WORKDIR/data.json                which rows the run trains on
WORKDIR/quarantine.jsonl         rows that it does not, of which set, and why
"""

import collections
import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from filelock import FileLock

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.loading.sources import Subset
from data_pipelines.prepare import flac, local
from data_pipelines.prepare.card import QUARANTINE
from data_pipelines.prepare.lengths import Lengths, survey
from data_pipelines.prepare.plan import MANIFEST, manifest
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.prepare.settings import Settings, Source, digest
from data_pipelines.prepare.settings import load as load_tools
from data_pipelines.prepare.storage import INFO
from data_pipelines.records.quarantine import entry, rows_line
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.validate import Limits
from experiments.run.record_config import PREPARED, SetConfig
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.packing import Budget
from fac_jax.io import write_text
from fac_jax.types import InputError

DEPTH: Final = 16  # hexadecimal digits of a key


@dataclasses.dataclass(frozen=True, eq=False)
class RecordSet:
    """Rows that lie prepared.

    Attributes:
      name: in the config.
      folder: of the shards.
      split: of them.
      lengths: of its rows.
      waves: changes of what users say.
    """

    name: str
    folder: Path
    split: str
    lengths: Lengths
    waves: WaveAugmentConfig

    @property
    def key(self) -> str:
        """Names the rows, equal only for equal ones."""
        return hashlib.sha256((self.folder / MANIFEST).read_bytes() + self.split.encode()).hexdigest()[:DEPTH]

    def fits(self, pairs: bool, budget: Budget) -> np.ndarray:
        """Which rows a batch can hold, bool `[R]`.

        Args:
          pairs: whether preference pairs are wanted, or conversations.
          budget: of the batch.
        """
        lengths = self.lengths
        return self.wanted(pairs) & (lengths.length <= budget.seq_len) & (lengths.windows <= budget.windows)

    def wanted(self, pairs: bool) -> np.ndarray:
        """Which rows the model can take and are pairs, or conversations; bool `[R]`."""
        return (self.lengths.length > 0) & (self.lengths.pair == pairs)

    def chosen(self, pairs: bool, budget: Budget) -> Subset:
        """The rows of `fits`, decoded one by one when they are asked for."""
        return Subset(read_prepared(self.folder, self.split), np.flatnonzero(self.fits(pairs, budget)))

    def misfits(self, stage: str, pairs: bool, budget: Budget) -> Iterable[dict[str, Any]]:
        """Lines of the quarantine for rows that the model can take and a stage's batches cannot hold."""
        rows = read_prepared(self.folder, self.split, flac.silence)
        for i in np.flatnonzero(self.wanted(pairs) & ~self.fits(pairs, budget)):
            length, windows, row = self.lengths.length[i], self.lengths.windows[i], rows[int(i)]
            detail = f"{length} LLM positions, {windows} windows; batches of stage {stage} hold {budget.seq_len}, "
            yield entry(Rejected(Reason.TOO_LONG, f"{detail}{budget.windows}", row.file, row.line, row.id))


def make_set(
    name: str, config: SetConfig, settings: Settings, model: ModelGrid, data_dir: Path, processes: int
) -> RecordSet:
    """Prepares the rows of a set, unless they are, and measures them, unless they were.

    Args:
      name: in the config.
      config: of the set.
      settings: of preparation, for the model.
      model: its grid.
      data_dir: where preparation goes.
      processes: that prepare.

    Raises:
      InputError: the rows cannot be read, speech needs a codec that is not given, or has tokens of another one.
    """
    source = config.source(f"data.sets.{name}")
    tools = load_tools(settings)
    limits = dataclasses.replace(tools.limits, units=model.units, delay_groups=model.delay_groups)
    if source.format == PREPARED:
        folder, split = Path(source.path), source.split or "train"
        _check_codec(name, folder, settings)
    else:
        folder, split = _prepared(name, source, settings, data_dir, processes), "train"
    made = RecordSet(name, folder, split, _NONE, config.waves)
    return dataclasses.replace(made, lengths=_measured(made, limits, settings, model, data_dir))


_NONE: Final = Lengths(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, bool), ())


def _prepared(name: str, source: Source, settings: Settings, data_dir: Path, processes: int) -> Path:
    plan = local.planned([source], settings)
    told = json.dumps(manifest([source], settings, plan, local.WAY), sort_keys=True)
    out = data_dir / PREPARED / f"{name}-{hashlib.sha256(told.encode()).hexdigest()[:DEPTH]}"
    out.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(out.with_suffix(".lock")):  # of runs that begin at the same time, one prepares
        if not (out / INFO).is_file():
            local.prepare([source], out, settings, processes, plan)
    return out


def _check_codec(name: str, folder: Path, settings: Settings) -> None:
    theirs = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["codec"]
    ours = digest(settings.codec)
    if theirs is not None and ours is not None and theirs != ours:
        raise InputError(
            f"data.sets.{name}: {folder} was prepared with another codec than the model's: prepare it with that"
        )


def _measured(made: RecordSet, limits: Limits, settings: Settings, model: ModelGrid, data_dir: Path) -> Lengths:
    stretch = made.waves.stretch
    told = [made.key, digest(settings.tokenizer), limits.units, limits.group_size, limits.delay_groups]
    told += [model.audio.n_window, stretch, model.user_audio]
    key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:DEPTH]
    file = data_dir / PREPARED / f"lengths-{key}.npz"
    if not file.exists():
        survey(made.folder, made.split, limits, model, stretch).save(file)
    return Lengths.load(file)


def lock_rows(sets: Iterable[RecordSet], workdir: Path) -> None:
    """Writes which rows a run trains on, or checks that they are what stands there.

    Raises:
      InputError: a set has other rows than when the run began.
    """
    file = workdir / "data.json"
    told = {one.name: {"folder": str(one.folder), "split": one.split, "key": one.key} for one in sets}
    if not file.exists():
        write_text(file, json.dumps(told, indent=2) + "\n")
        return
    before = json.loads(file.read_text(encoding="utf-8"))
    changed = [name for name, one in told.items() if before.get(name, {}).get("key") != one["key"]]
    if changed:
        raise InputError(
            f"data.sets.{changed[0]}: its rows changed since the run in {workdir} began: restore them, or take another "
            "--workdir"
        )


def write_quarantine(workdir: Path, refused: Mapping[str, Sequence[Mapping[str, Any]]]) -> Path:
    """Writes the refused rows of every set into one file; gives its path."""
    file = workdir / QUARANTINE
    lines = [{"set": name, **line} for name, found in refused.items() for line in found]
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    return file


def refused_before(one: RecordSet) -> list[dict[str, Any]]:
    """What preparation refused of a set, and what of the rest the model cannot take."""
    told = (one.folder / QUARANTINE).read_text(encoding="utf-8").splitlines()
    return [*map(json.loads, told), *one.lengths.refused]


def account(one: RecordSet) -> str:
    """What became of a set's rows, on one line."""
    reasons = collections.Counter(line["reason"] for line in refused_before(one))
    return f"{one.name}: {rows_line(int((one.lengths.length > 0).sum()), dict(sorted(reasons.items())))}"
