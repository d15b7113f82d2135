"""What stages share when they train in the toy world: rows, codec, tokenizer, model; and their batches.

WORKDIR/codec/       fitted on the replies of the training rows, or that of the model to start from
WORKDIR/tokenizer/   trained on the texts of all rows to train on, or that of the model to start from
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data_pipelines.augment.spec import AugmentConfig
from data_pipelines.loading.counts import LoadingConfig, load
from data_pipelines.loading.sources import Augmented, Source, as_it_is
from data_pipelines.records.checksum import rows_checksum
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.build import build
from data_pipelines.worlds.capabilities import CAPABILITIES
from data_pipelines.worlds.pairs import encode_pairs, pair_conversations
from data_pipelines.worlds.preferences import PairsConfig
from data_pipelines.worlds.schema import PAIR_SPLITS, SPLITS, PairRow, Row
from data_pipelines.worlds.storage import read_rows
from data_pipelines.worlds.tasks import TASKS
from data_pipelines.worlds.views import conversations
from experiments.run.initial import base_model, check_fits, copy_once, fitted, initial_folder
from experiments.run.references import score_pairs, stored_references
from experiments.run.stage_data import COLLATE, check_hosts, divisible, load_on, packed_config, spoken_first
from fac_jax.batching.collate import budget
from fac_jax.batching.conversation import Conversation, corpus
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, encode
from fac_jax.batching.pairs import PairExample, collate_pairs, mixture, replay, with_references
from fac_jax.checkpoint.assets import CODEC, TOKENIZER
from fac_jax.codec.base import Codec, load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.mesh import Layout
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.training.interfaces import Data
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, Params

REFERENCES = "references.npz"  # of a stage
REPEATED = ("text_rehearsed", "text_copy", "voice", "voice_statements")  # texts that other tasks have: count once


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data of a recipe.

    Attributes:
      world: the rows.
      codec: the units that replies are spoken in, fitted on the replies.
      codec_from: folder of a codec that is there already, in place of `codec`; the real voice, for one.
      vocab_size: upper bound of the tokenizer's vocabulary.
      augment: changes of the user's audio in training; None leaves it as it is.
      processes: that speak the rows.
      pairs: preference pairs of the same world; None for none.
    """

    world: WorldConfig = WorldConfig()
    codec: UnitCodecConfig = UnitCodecConfig()
    codec_from: str | None = None
    vocab_size: int = 512
    augment: AugmentConfig | None = AugmentConfig()
    processes: int = 2
    pairs: PairsConfig | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Materials:
    """What the stages share.

    Attributes:
      rows: of every split.
      codec: waveform <-> speech ids.
      tokenizer: text <-> ids.
      model: fitted to the vocabulary and the codebook.
      augment: of the user's audio in training.
      pair_rows: preference pairs of "train" and "test"; empty without `DataConfig.pairs`.
      layout: mesh that batches go to; None for one device.
    """

    rows: dict[str, list[Row]]
    codec: Codec
    tokenizer: Tokenizer
    model: ModelConfig
    augment: AugmentConfig | None
    pair_rows: dict[str, list[PairRow]]
    layout: Layout | None = None

    def checksum(self) -> str:
        """Of everything that the rows and pairs say, audio included."""
        return rows_checksum({**self.rows, **{f"pairs/{split}": rows for split, rows in self.pair_rows.items()}})

    @functools.cached_property
    def _examples(self) -> dict[str, list[Example]]:
        return {}

    def examples(self, tasks: Sequence[str]) -> dict[str, list[Example]]:
        """Training examples of the named tasks; each is made once.

        Raises:
          InputError: a task that does not exist, or a row that does not fit; names it.
        """
        missing = {name: self._conversations(name) for name in tasks if name not in self._examples}
        for name, found in add_features(missing, self.codec, self.model.user_audio).items():
            self._examples[name] = [encode(c, self.tokenizer, self.model) for c in found]
        return {name: self._examples[name] for name in tasks}

    def _conversations(self, task: str) -> list[Conversation]:
        if task in CAPABILITIES:
            return conversations(self.pair_rows.get("train", []), task)
        return conversations(training_rows(self.rows, task), task)

    def data(self, stage: StageConfig, params: Params, directory: Path) -> Data:
        """Batches of a stage, as its `data` says.

        `data["counts"]` says how many rows, or pairs, of each task are in a batch; the shapes follow. With
        `data["mixture"]` instead, the other keys being those of `PackedConfig`, rows are packed. Rows of other tasks
        among pairs are replayed: their replies are anchored.

        Args:
          stage: what to train.
          params: what it starts from, the reference of its preferences.
          directory: of the stage; gets the reference's log-probabilities.

        Raises:
          InputError: see `examples`; a task without rows; keys that packed data do not have; or see
            `stored_references`.
        """
        if stage.loss == "preference":
            return self._pair_data(stage, params, directory)
        if "mixture" in stage.data:
            make = as_it_is if self.augment is None else Augmented(self.augment, stage.seed)
            return self._packed(stage, self.examples(list(stage.data["mixture"])), make)
        check_hosts(stage)
        counts = spoken_first(stage.data["counts"])
        tasks = self.examples(list(counts))
        seq_len, windows = self._budget(tasks, counts)
        loading = LoadingConfig(counts, seq_len, windows, stage.seed, self.augment, stage.micro_batches)
        return load(tasks, loading, self.model)

    def pairs(self, split: str) -> list[PairExample]:
        """Preference pairs of "train" or "test".

        Raises:
          InputError: the config has no `data.pairs`, or a row does not fit; names it.
        """
        if split not in self.pair_rows:
            raise InputError(f"the config has no preference pairs ({split}): set data.pairs")
        return encode_pairs(self.pair_rows[split], self.tokenizer, self.model, self.codec)

    def _pair_data(self, stage: StageConfig, params: Params, directory: Path) -> Data:
        check_hosts(stage)
        pairs = self.pairs("train")
        if stage.preference.reference == "stored":
            score = functools.partial(score_pairs, self.model, pairs=pairs, layout=self.layout)
            pairs = with_references(pairs, stored_references(directory / REFERENCES, params, score))
        tasks: dict[str, list[PairExample]] = mixture(pairs)
        others = [name for name in stage.data["mixture" if "mixture" in stage.data else "counts"] if name not in tasks]
        tasks |= {name: [replay(example) for example in found] for name, found in self.examples(others).items()}
        if "mixture" in stage.data:
            return self._packed(stage, tasks, as_it_is)
        counts = spoken_first(stage.data["counts"])
        seq_len, windows = self._budget(tasks, counts)
        loading = LoadingConfig(counts, seq_len, windows, stage.seed, None, stage.micro_batches)
        return load(tasks, loading, self.model, collate_pairs)

    def _budget(self, tasks: Mapping[str, Sequence[Any]], counts: Mapping[str, int]) -> tuple[int, int]:
        """Positions of a row and windows of a batch, of which a mesh needs a multiple of its shards."""
        seq_len, windows = budget(tasks, counts, self.model)
        return seq_len, divisible(windows, self.layout)

    def _packed(self, stage: StageConfig, tasks: Mapping[str, list[Any]], make: Callable[[Any, int], Any]) -> Data:
        sources = {name: Source(rows, make) for name, rows in tasks.items()}
        return load_on(self.layout, sources, packed_config(stage), self.model, COLLATE[stage.loss])


def training_rows(rows: Mapping[str, list[Row]], task: str) -> list[Row]:
    """The rows that a task trains on."""
    return rows[TASKS[task].split if task in TASKS else "train"]


def prepare(
    data: DataConfig, model: Mapping[str, Any], workdir: Path, data_dir: Path, layout: Layout | None = None
) -> Materials:
    """Builds, or finds built, the data set, the codec and the tokenizer, and fits the model to them.

    Args:
      data: of the recipe.
      model: `preset` or `init_from`, and changes (`base_model`).
      workdir: gets the codec and the tokenizer.
      data_dir: holds data sets, each in a folder named after its world.
      layout: mesh that batches go to.

    Raises:
      InputError: a world that cannot be, an unknown preset or model key, a model to start from that is not there or
        whose tokenizer or codec is not its own.
    """
    initial = initial_folder(model)
    if initial:
        copy_once(initial, workdir)
    folder = build(data.world, data.pairs, data_dir, data.processes)
    rows: dict[str, list[Any]] = {split: list(read_rows(folder, split)) for split in SPLITS}
    stored = PAIR_SPLITS if data.pairs else {}
    pairs: dict[str, list[Any]] = {split: list(read_rows(folder, name)) for split, name in stored.items()}
    codec = _codec(data, rows["train"], pairs.get("train", []), workdir / CODEC)
    tokenizer = _tokenizer(data.vocab_size, rows, pairs.get("train", []), workdir / "tokenizer")
    config = base_model(model)
    if initial:
        check_fits(config, tokenizer, codec, initial)
    else:
        config = fitted(config, tokenizer, codec.units)
    return Materials(rows, codec, tokenizer, config, data.augment, pairs, layout)


def _codec(data: DataConfig, rows: Sequence[Row], pairs: Sequence[PairRow], folder: Path) -> Codec:
    if not (folder / "codec.json").exists():
        if data.codec_from:
            load_codec(data.codec_from).save(folder)
            return load_codec(folder)
        replies = {row.reply: row.assistant_audio for row in rows if row.assistant_audio is not None}
        waves = [replies[reply] for reply in sorted(replies)]
        waves += [pair.chosen_audio for pair in pairs if pair.chosen_audio is not None]
        UnitCodec.fit(waves, data.codec).save(folder)
    return load_codec(folder)


def _tokenizer(vocab_size: int, rows: Mapping[str, list[Row]], pairs: Sequence[PairRow], folder: Path) -> Tokenizer:
    if not (folder / TOKENIZER).exists():
        seen = {task: conversations(training_rows(rows, task), task) for task in TASKS if task not in REPEATED}
        seen["pairs"] = [conversation for pair in pairs for conversation in pair_conversations(pair)]
        train_tokenizer(corpus(seen), vocab_size, folder / TOKENIZER)
    return Tokenizer.load(folder)
