"""The data of a run: its sets, tokenizer and codec, and the batches of every stage."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np
from etils import epath

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.loading.encode import Encode
from data_pipelines.loading.loader import PackedBatches, Shares, WorkerConfig
from data_pipelines.loading.sources import Source, Stream, mixture, mixture_shares, one_epoch
from data_pipelines.records.record import Record
from experiments.run.features import Encoder, stored_features
from experiments.run.references import score_pairs, stored_references
from experiments.run.schema import RunConfig
from experiments.run.sets import PreparedRows, RecordSet
from fac_jax.batching.feature_store import FeatureStore
from fac_jax.batching.grid import Example
from fac_jax.batching.loaded import Loaded
from fac_jax.batching.packing import Budget
from fac_jax.batching.pairs import PairExample, replay
from fac_jax.codec.base import Codec
from fac_jax.losses.preference import Preference
from fac_jax.parallel.mesh import Layout
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.training.evals import EvalBatches
from fac_jax.training.mesh_data import Data, MeshData
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, Params

NO_CHANGE: Final = WaveAugmentConfig()
Cache: TypeAlias = dict[tuple[int, int], Example | PairExample]
SPARE: Final = 1.05  # windows of a row over those that full rows need on average


@dataclasses.dataclass(frozen=True, eq=False)
class ItemMaker:
    """Makes the items of a set's rows by their numbers.

    Attributes:
      copies: how many different items a row has, which come by turns; None for a new one every epoch.
      cache: items by row and copy, each made once for all epochs and stages; None makes them when they are asked for.
    """

    records: Sequence[Record]
    encode: Encode
    pairs: bool
    references: np.ndarray | None = None
    copies: int | None = 1
    cache: Cache | None = None

    def __call__(self, number: int, epoch: int) -> Example | PairExample:
        """Returns the item of a row in an epoch."""
        copy = epoch if self.copies is None else (number + epoch) % self.copies
        item = None if self.cache is None else self.cache.get((number, copy))
        if item is None:
            item = self.encode(self.records[number], copy)
            if self.cache is not None:
                self.cache[number, copy] = item
        if isinstance(item, Example):
            return replay(item) if self.pairs else item
        return item if self.references is None else dataclasses.replace(item, reference=self.references[number])


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What the stages of a run share.

    Attributes:
      config: with the model fitted to the tokenizer and the codec.
      workdir: folder of the run.
      sets: rows by name.
      tokenizer: text <-> ids.
      codec: waveform <-> speech ids; None where no row needs one.
      layout: mesh that batches go to; None for one device.
      world: folder of the toy world's data set; None without one.
      data_dir: folder of what is made for several runs.
    """

    config: RunConfig
    workdir: epath.Path
    sets: Mapping[str, RecordSet]
    tokenizer: Tokenizer
    codec: Codec | None
    layout: Layout | None = None
    world: Path | None = None
    data_dir: Path = Path("data")
    _cache: dict[str, Cache] = dataclasses.field(default_factory=dict, init=False)

    def checksum(self) -> str:
        """Returns a checksum of the rows of all sets."""
        keys = {name: one.train.key for name, one in sorted(self.sets.items())}
        return hashlib.sha256(json.dumps(keys).encode()).hexdigest()[:16]

    def budget(self, stage: StageConfig) -> Budget:
        """Returns the shapes of a stage's batches; windows that its config leaves out are found from the rows.

        Raises:
          InputError: a set has no row for the stage.
        """
        data = stage.data
        most = np.iinfo(np.int32).max if data.windows_per_row is None else data.windows_per_row
        width = self.config.model.audio.width if data.feature_copies else None
        budget = Budget(data.batch_rows, data.seq_len, most, data.segments, width)
        lengths = {name: self.sets[name].train.lengths for name in data.sources}
        fits = {name: self._fits(stage, self.sets[name].train, budget) for name in data.sources}
        empty = [name for name, rows in fits.items() if not rows.any()]
        if empty:
            raise InputError(f"stages.{stage.name}: data.sets.{empty[0]} has no {self._lacks(stage, empty[0], budget)}")
        if data.windows_per_row is not None:
            return budget
        shares = mixture_shares(data.mixture, {name: int(rows.sum()) for name, rows in fits.items()}, data.temperature)
        windows = sum(share * lengths[name].windows[fits[name]].mean() for name, share in shares.items())
        length = sum(share * lengths[name].length[fits[name]].mean() for name, share in shares.items())
        largest = max(int(lengths[name].windows[fits[name]].max()) for name in shares)
        segments = data.segments or np.inf
        filled = min(data.seq_len, segments * length)  # LLM positions of a full row
        return dataclasses.replace(budget, windows_per_row=max(largest, math.ceil(SPARE * windows / length * filled)))

    def trained_rows(self, name: str) -> np.ndarray:
        """Returns which training rows of a set some stage takes, bool `[R]`; raises as `budget`."""
        rows = self.sets[name].train
        taken = np.zeros(len(rows.lengths.length), bool)
        for stage in self.config.stages:
            if stage.steps and name in stage.data.sources:
                taken |= self._fits(stage, rows, self.budget(stage))
        return taken

    def _fits(self, stage: StageConfig, rows: PreparedRows, budget: Budget) -> np.ndarray:
        """Returns which rows a stage takes, bool `[R]`."""
        fits = rows.fits(stage.loss.pairs, budget)
        return fits | rows.fits(False, budget) if stage.loss.replays else fits

    def _lacks(self, stage: StageConfig, name: str, budget: Budget) -> str:
        """Returns what a set without a row for a stage does not have, and what to change."""
        rows, kind = self.sets[name].train, "preference pairs" if stage.loss.pairs else "conversations"
        wanted = rows.wanted(stage.loss.pairs) | (rows.wanted(False) if stage.loss.replays else False)
        if not wanted.any():
            return f"{kind}; see quarantine.jsonl in the workdir"
        shortest = np.flatnonzero(wanted)[rows.lengths.length[wanted].argmin()]
        given = "" if stage.data.windows_per_row is None else f" and {stage.data.windows_per_row} windows"
        return (
            f"{kind} that fit its batches: the shortest takes {rows.lengths.length[shortest]} LLM positions and "
            f"{rows.lengths.windows[shortest]} encoder windows, a row has {budget.seq_len} positions{given}; raise "
            f"stages.{stage.name}.data.seq_len" + " or windows_per_row" * bool(given)
        )

    def train_data(self, stage: StageConfig, params: Params, directory: epath.Path) -> Data:
        """Returns a stage's endless batches: rows decoded, encoded and packed when needed; raises as `budget`."""
        budget, sources, copies = self.budget(stage), {}, stage.data.feature_copies
        encoder = Encoder.of(self.config.model, params) if copies else None
        for name in stage.data.sources:
            rows = self.sets[name].train
            part = dataclasses.replace(_part(budget, stage), features=None)
            references = self._references(stage, rows, part, params, directory / f"references-{name}.npz")
            chosen = self._fits(stage, rows, budget)
            waves = self.sets[name].waves if stage.data.augment else NO_CHANGE
            stored: tuple[FeatureStore, ...] = ()
            if encoder is not None and copies is not None:
                seed, threads = self.config.seed, self.config.data.processes
                stored = stored_features(encoder, rows, waves, copies, seed, self.data_dir, threads)
            sources[name] = self._source(stage, rows, chosen, waves, references, stored)
        sizes = {name: len(source.rows) for name, source in sources.items()}
        shares = mixture_shares(stage.data.mixture, sizes, stage.data.temperature)
        batches = self._batches(stage, mixture(sources, shares, stage.seed), budget, stage.micro_batches)
        return MeshData(batches, self.layout)

    def eval_data(self, stage: StageConfig, params: Params, directory: epath.Path) -> Mapping[str, EvalBatches]:
        """Returns the held-out batches of a stage by the name of their set; arguments as of `train_data`.

        Raises:
          InputError: `evals.sets` names a set without rows to evaluate on.
        """
        asked = self.config.evals.sets
        names = asked or tuple(name for name in stage.data.sources if self.sets[name].held_out is not None)
        return {name: self._held_out(stage, name, params, directory) for name in names}

    def _held_out(self, stage: StageConfig, name: str, params: Params, directory: epath.Path) -> EvalBatches:
        rows = self.sets[name].held_out if name in self.sets else None
        if rows is None:
            raise InputError(f"evals.sets names {name!r}, which has no rows to evaluate on: set its eval_split")
        widest = int(rows.lengths.windows.max(initial=0))
        budget = _part(self.budget(stage), stage)
        budget = dataclasses.replace(budget, windows_per_row=max(budget.windows_per_row, widest), features=None)
        references = self._references(stage, rows, budget, params, directory / f"references-{name}-held-out.npz")
        source = self._source(stage, rows, self._fits(stage, rows, budget), references=references)
        if not len(source.rows):
            raise InputError(f"stages.{stage.name}: data.sets.{name} has no held-out row that fits its batches")

        def batches() -> Iterator[Loaded]:
            data = MeshData(self._batches(stage, one_epoch(name, source), budget), self.layout)
            try:
                while True:
                    yield next(data)
            except StopIteration:
                return
            finally:
                data.close()

        return batches

    def _source(
        self,
        stage: StageConfig,
        rows: PreparedRows,
        chosen: np.ndarray,
        waves: WaveAugmentConfig = NO_CHANGE,
        references: np.ndarray | None = None,
        stored: tuple[FeatureStore, ...] = (),
    ) -> Source:
        """Returns the items of the chosen rows, bool `[R]`."""
        numbers = np.flatnonzero(chosen)
        encode = Encode(self.tokenizer, self.config.model, None, waves, stage.seed, stored)
        copies = len(stored) or (None if waves.operations() else 1)
        key = " ".join([rows.key, *(store.folder.name for store in stored)])
        cache = self._cache.setdefault(key, {}) if stage.data.cache and copies is not None else None
        make = ItemMaker(rows.records, encode, stage.loss.pairs, references, copies, cache)
        return Source(numbers.tolist(), make, rows.lengths.length[numbers], rows.lengths.windows[numbers])

    def _references(
        self, stage: StageConfig, rows: PreparedRows, budget: Budget, params: Params, file: epath.Path
    ) -> np.ndarray | None:
        """Returns log-probabilities of the pairs among rows, float32 `[R, 2, 2]`; None if the loss stores none."""
        loss = stage.loss
        if loss.needs_reference != "stored":
            return None
        assert isinstance(loss, Preference)
        pairs = rows.fits(True, budget)
        found = np.zeros((len(pairs), 2, 2), np.float32)
        if pairs.any():
            source, attention = self._source(stage, rows, pairs), self.config.attention
            args = (loss, self.config.model, params, source, budget, self.layout, attention)
            found[pairs] = stored_references(file, params, rows.key, lambda: score_pairs(*args))
        return found

    def _batches(self, stage: StageConfig, stream: Stream, budget: Budget, micro_batches: int = 1) -> PackedBatches:
        data, shares = stage.data, Shares.on(self.layout, micro_batches)
        workers = WorkerConfig(data.workers, data.threads, data.buffer)
        return PackedBatches(stream, budget, self.config.model, stage.loss.collate, shares, workers)


def _part(budget: Budget, stage: StageConfig) -> Budget:
    """Returns the shapes of one micro-batch: what a step sees at a time, evaluation and references see too."""
    return dataclasses.replace(budget, rows=budget.rows // stage.micro_batches)
