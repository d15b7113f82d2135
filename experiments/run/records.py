"""What stages share when they train on rows of one's own: sets, tokenizer, model; and their batches."""

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_pipelines.loading.encode import Encode
from data_pipelines.loading.packed import PackedConfig
from data_pipelines.loading.sources import Made, Source, shares
from data_pipelines.prepare.settings import Settings
from data_pipelines.records.record import Record
from experiments.run.initial import base_model, check_fits, copy_once, fitted, initial_folder
from experiments.run.record_assets import make_codec, make_tokenizer
from experiments.run.record_config import RecordsConfig
from experiments.run.record_sets import RecordSet, account, lock_rows, make_set, refused_before, write_quarantine
from experiments.run.references import score_pairs, stored_references
from experiments.run.stage_data import check_hosts, divisible, load_on, packed_config
from fac_jax.batching.pairs import PairExample
from fac_jax.checkpoint.assets import CODEC
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.mesh import Layout
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.training.interfaces import Data
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, Params

SPARE: Final = 1.05  # windows of a batch over those that full rows need on average


@dataclasses.dataclass(frozen=True, eq=False)
class RecordMaterials:
    """What the stages share.

    Attributes:
      sets: by name.
      tokenizer: text <-> ids.
      model: that the rows were prepared for.
      layout: mesh that batches go to; None for one device.
    """

    sets: Mapping[str, RecordSet]
    tokenizer: Tokenizer
    model: ModelConfig
    layout: Layout | None = None

    def checksum(self) -> str:
        """Of the rows of all sets."""
        return hashlib.sha256(json.dumps({name: one.key for name, one in self.sets.items()}).encode()).hexdigest()[:16]

    def packed(self, stage: StageConfig) -> PackedConfig:
        """A stage's batches; windows that `data` leaves out are found from the rows.

        Raises:
          InputError: see `packed_config`; or a set has no row for the stage.
        """
        config = packed_config(stage, windows=np.iinfo(np.int32).max)
        pairs, shapes = stage.loss.pairs, config.budget
        fits = {name: self.sets[name].fits(pairs, shapes) for name in config.mixture}
        empty = [name for name, rows in fits.items() if not rows.any()]
        if empty:
            kinds = ("preference pairs", "conversations") if pairs else ("conversations", "preference pairs")
            others = int(self.sets[empty[0]].wanted(not pairs).sum())
            raise InputError(
                f"stages.{stage.name}: data.sets.{empty[0]} has no {kinds[0]} that fit its batches ({others} "
                f"{kinds[1]}); see quarantine.jsonl in the workdir"
            )
        if "windows" in stage.data:
            return config
        parts = shares(config.mixture, {name: int(rows.sum()) for name, rows in fits.items()}, config.temperature)
        lengths = {name: self.sets[name].lengths for name in parts}
        windows = sum(part * lengths[name].windows[fits[name]].mean() for name, part in parts.items())
        length = sum(part * lengths[name].length[fits[name]].mean() for name, part in parts.items())
        most = max(int(lengths[name].windows[fits[name]].max()) for name in parts)
        found = max(1, most, math.ceil(SPARE * windows / length * shapes.rows * shapes.seq_len))
        return dataclasses.replace(config, windows=divisible(found, self.layout))

    def data(self, stage: StageConfig, params: Params, directory: Path) -> Data:
        """Batches of a stage: rows decoded, changed, encoded and packed as they are needed.

        Args:
          stage: what to train.
          params: what it starts from, the reference of its preferences.
          directory: of the stage; gets the reference's log-probabilities.

        Raises:
          InputError: see `packed` and `stored_references`.
        """
        check_hosts(stage)
        config = self.packed(stage)
        sources: dict[str, Source] = {}
        for name in config.mixture:
            one = self.sets[name]
            rows = one.chosen(stage.loss.pairs, config.budget)
            make = Encode(self.tokenizer, self.model, None, config.mel, one.waves, stage.seed)
            if stage.loss.needs_reference == "stored":
                pairs = Made(Source(rows, dataclasses.replace(make, mel="host")))
                shapes = (config.seq_len, int(one.lengths.windows.max()))
                score = functools.partial(score_pairs, self.model, pairs=pairs, shapes=shapes, layout=self.layout)
                make = Referenced(make, stored_references(directory / f"references-{name}.npz", params, score))
            sources[name] = Source(rows, make)
        return load_on(self.layout, sources, config, self.model, stage.loss.collate)


@dataclasses.dataclass(frozen=True, eq=False)
class Referenced:
    """Makes pairs with their reference's log-probabilities.

    Attributes:
      make: makes them without.
      found: float32 `[2, 2]` by id.
    """

    make: Encode
    found: Mapping[str, np.ndarray]

    def __call__(self, record: Record, epoch: int) -> PairExample:
        """The pair of a record."""
        pair = self.make(record, epoch)
        assert isinstance(pair, PairExample)
        return dataclasses.replace(pair, reference=self.found[pair.id])


def prepare(
    data: RecordsConfig,
    model: Mapping[str, Any],
    stages: Sequence[StageConfig],
    workdir: Path,
    data_dir: Path,
    layout: Layout | None = None,
) -> RecordMaterials:
    """Prepares and measures, or finds prepared, the rows of all sets, and fits a preset to them.

    Args:
      data: that `check` has passed.
      model: `preset` or `init_from`, and changes (`base_model`).
      stages: of the recipe; rows that their batches cannot hold go to the quarantine too.
      workdir: gets tokenizer, codec and quarantine.jsonl.
      data_dir: gets prepared rows, for all runs.
      layout: mesh that batches go to.

    Raises:
      InputError: a model to start from that is not there, or whose tokenizer or codec is not its own; see `make_set`
        and `RecordMaterials.packed`; or the rows are not those that the run began with.
    """
    initial = initial_folder(model)
    if initial:
        copy_once(initial, workdir)
    sources = [one.source(f"data.sets.{name}") for name, one in sorted(data.sets.items())]
    tokenizer = make_tokenizer(data, sources, initial, workdir / "tokenizer")
    codec = make_codec(data, sources, initial, workdir / CODEC)
    config = base_model(model)
    if initial:
        check_fits(config, tokenizer, codec, initial)
    else:
        config = fitted(config, tokenizer, config.units if codec is None else codec.units)
    settings = Settings(
        context=config.context,
        units=config.units,
        group_size=config.group_size,
        codec=None if codec is None else str(workdir / CODEC),
        user_audio=config.user_audio,
        tokenizer=str(workdir / "tokenizer"),
    )
    sets = {
        name: make_set(name, one, settings, config, data_dir, data.processes) for name, one in sorted(data.sets.items())
    }
    lock_rows(sets.values(), workdir)
    materials = RecordMaterials(sets, tokenizer, config, layout)
    _quarantine(materials, stages, workdir)
    return materials


def _quarantine(materials: RecordMaterials, stages: Sequence[StageConfig], workdir: Path) -> None:
    """Writes and tells which rows are not trained on."""
    refused = {name: refused_before(one) for name, one in materials.sets.items()}
    write_quarantine(workdir, refused)
    for one in materials.sets.values():
        print(account(one))
    for stage in stages:
        if not stage.steps:
            continue
        config, pairs = materials.packed(stage), stage.loss.pairs
        for name in config.mixture:
            refused[name] += materials.sets[name].misfits(stage.name, pairs, config.budget)
    file = write_quarantine(workdir, refused)
    print(f"not trained on: {sum(map(len, refused.values()))}, in {file}")
