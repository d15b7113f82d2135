"""From a config to what training needs: data, codec, tokenizer, model, stages.

WORKDIR/codec/       fitted on the replies of the training rows, or that of the model to start from
WORKDIR/tokenizer/   trained on the texts of all rows to train on, or that of the model to start from
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from ml_collections import ConfigDict

from data_pipelines.augment import AugmentConfig
from data_pipelines.builder import build, read
from data_pipelines.collate import budget
from data_pipelines.conversation import TASKS, Conversation, conversations, corpus, is_spoken
from data_pipelines.features import add_features
from data_pipelines.grid import Example, encode
from data_pipelines.hosts import Share
from data_pipelines.loading import LoadingConfig, load
from data_pipelines.packed_loading import PackedConfig, collate_examples, collate_preferences, load_packed
from data_pipelines.pair_builder import build_pairs
from data_pipelines.pairs import (
    SPOKEN,
    PairExample,
    collate_pairs,
    encode_pairs,
    mixture,
    pair_conversations,
    with_references,
)
from data_pipelines.schema import PairRow, Row
from data_pipelines.sources import Augmented, Source, as_it_is
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.capabilities import CAPABILITIES
from data_pipelines.worlds.preferences import PairsConfig
from experiments.initial import base_model, check_fits, copy_once, initial_folder
from experiments.layout import layout_of
from experiments.recipe import Recipe, claim
from experiments.references import stored_references
from fac_jax import axes
from fac_jax.checkpoint.assets import CODEC, TOKENIZER
from fac_jax.codec.base import Codec, load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.batches import host_share
from fac_jax.parallel.hosts import first_goes_first, several
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import Layout
from fac_jax.text.special_ids import speech_special_ids
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.training.interfaces import Data
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, Params
from fac_jax.values import from_values

REFERENCES = "references.npz"  # of a stage
REPEATED = ("text_rehearsed", "text_copy", "voice", "voice_statements")  # texts that other tasks have: count once
# Read from the split without speech; all others from "train".
TEXT_SPLIT_TASKS = ("text_qa", "text_statements", "text_facts", "text_rehearsed", "silent_qa", "silent_statements")


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The data of a recipe.

    Attributes:
      world: the rows.
      codec: the units that replies are spoken in.
      vocab_size: upper bound of the tokenizer's vocabulary.
      augment: changes of the user's audio in training; None leaves it as it is.
      processes: that speak the rows.
      pairs: preference pairs of the same world; None for none.
    """

    world: WorldConfig = WorldConfig()
    codec: UnitCodecConfig = UnitCodecConfig()
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

    @functools.cached_property
    def _examples(self) -> dict[str, list[Example]]:
        return {}

    def examples(self, tasks: Sequence[str]) -> dict[str, list[Example]]:
        """Training examples of the named tasks; each is made once.

        Raises:
          InputError: a task that does not exist, or a row that does not fit; names it.
        """
        missing = {name: self._conversations(name) for name in tasks if name not in self._examples}
        for name, found in add_features(missing, self.codec).items():
            self._examples[name] = [encode(c, self.tokenizer, self.model) for c in found]
        return {name: self._examples[name] for name in tasks}

    def _conversations(self, task: str) -> list[Conversation]:
        if task in CAPABILITIES:
            return CAPABILITIES[task](self.pair_rows.get("train", []))
        return conversations(training_rows(self.rows, task), task)

    def data(self, stage: StageConfig, params: Params, directory: Path) -> Data:
        """Batches of a stage, as its `data` says.

        `data["counts"]` says how many rows, or pairs, of each task are in a batch; the shapes follow. With
        `data["mixture"]` instead, the other keys being those of `PackedConfig`, rows are packed.

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
            return self._packed(stage, self.examples(list(stage.data["mixture"])), make, collate_examples)
        _check_hosts(stage)
        counts = _spoken_first(stage.data["counts"])
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
        pairs = self.pairs("train")
        if "mixture" not in stage.data:
            _check_hosts(stage)
        if stage.preference.reference == "stored":
            if several():
                raise InputError(
                    f'stage {stage.name}: a "stored" reference is made by one host; set preference.reference="frozen"'
                )
            found = stored_references(directory / REFERENCES, self.model, params, pairs, self.layout)
            pairs = with_references(pairs, found)
        if "mixture" in stage.data:
            return self._packed(stage, mixture(pairs), as_it_is, collate_preferences)
        tasks, counts = mixture(pairs), _spoken_first(stage.data["counts"])
        seq_len, windows = self._budget(tasks, counts)
        loading = LoadingConfig(counts, seq_len, windows, stage.seed, None, stage.micro_batches)
        return load(tasks, loading, self.model, collate_pairs)

    def _budget(self, tasks: Mapping[str, Sequence[Any]], counts: Mapping[str, int]) -> tuple[int, int]:
        """Positions of a row and windows of a batch, of which a mesh needs a multiple of its shards."""
        seq_len, windows = budget(tasks, counts, self.model)
        shards = 1 if self.layout is None else self.layout.shards(axes.WINDOWS)
        return seq_len, -(-windows // shards) * shards

    def _packed(
        self, stage: StageConfig, tasks: Mapping[str, list[Any]], make: Callable[[Any, int], Any], collate: Any
    ) -> Data:
        config = from_values(PackedConfig, stage.data, f"stages.{stage.name}.data")
        config = dataclasses.replace(config, seed=stage.seed, micro_batches=stage.micro_batches)
        sources = {name: Source(rows, make) for name, rows in tasks.items()}
        if self.layout is None:
            return load_packed(sources, config, self.model, collate)
        hosts = host_share(self.layout)
        parts = self.layout.shards(axes.BATCH) // hosts.count
        config = dataclasses.replace(config, parts=parts, device_buffer=0)
        return load_packed(sources, config, self.model, collate, Share(hosts.index, hosts.count))


def _check_hosts(stage: StageConfig) -> None:
    """Rows by counts are laid out by one host.

    Raises:
      InputError: there are several.
    """
    if several():
        raise InputError(
            f"stage {stage.name}: several hosts share packed rows; give its data a `mixture`, not `counts`"
        )


def training_rows(rows: Mapping[str, list[Row]], task: str) -> list[Row]:
    """The rows that a task trains on."""
    return rows["text" if task in TEXT_SPLIT_TASKS else "train"]


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
    builder = build(data.world, data_dir, data.processes)
    rows = {split: read(builder, split) for split in builder.info.splits}
    pairs = build_pairs(data.world, data.pairs, data_dir, data.processes) if data.pairs else {}
    codec = _codec(data.codec, rows["train"], pairs.get("train", []), workdir / CODEC)
    tokenizer = _tokenizer(data.vocab_size, rows, pairs.get("train", []), workdir / "tokenizer")
    config = base_model(model)
    if initial:
        check_fits(config, tokenizer, codec, initial)
    else:
        config = dataclasses.replace(
            config,
            vocab_size=tokenizer.vocab_size,
            codebook_size=codec.units + len(speech_special_ids(codec.units)),
            special=tokenizer.special_ids(codec.units),
        )
    return Materials(rows, codec, tokenizer, config, data.augment, pairs, layout)


def _codec(config: UnitCodecConfig, rows: Sequence[Row], pairs: Sequence[PairRow], folder: Path) -> Codec:
    if not (folder / "codec.json").exists():
        replies = {row.reply: row.assistant_audio for row in rows if row.assistant_audio is not None}
        waves = [replies[reply] for reply in sorted(replies)]
        waves += [pair.chosen_audio for pair in pairs if pair.chosen_audio is not None]
        UnitCodec.fit(waves, config).save(folder)
    return load_codec(folder)


def _tokenizer(vocab_size: int, rows: Mapping[str, list[Row]], pairs: Sequence[PairRow], folder: Path) -> Tokenizer:
    if not (folder / TOKENIZER).exists():
        seen = {task: conversations(training_rows(rows, task), task) for task in TASKS if task not in REPEATED}
        seen["pairs"] = [conversation for pair in pairs for conversation in pair_conversations(pair)]
        train_tokenizer(corpus(seen), vocab_size, folder / TOKENIZER)
    return Tokenizer.load(folder)


def assets(workdir: Path) -> dict[str, Path]:
    """What goes into every finished model beside its parameters."""
    return {file.name: file for file in (workdir / "tokenizer").iterdir()} | {CODEC: workdir / CODEC}


def data_config(config: ConfigDict) -> DataConfig:
    """`config.data` as a frozen dataclass.

    Raises:
      InputError: a key that it does not have.
    """
    return from_values(DataConfig, config.to_dict()["data"], "data")


def stages(config: ConfigDict) -> tuple[StageConfig, ...]:
    """The stages that `config.recipe` lists, each described in `config.stages`.

    Raises:
      InputError: a stage that is not described, or a key that stages do not have.
    """
    values = config.to_dict()
    described = {name: {**stage, "spoken_rows": _spoken_rows(stage)} for name, stage in values["stages"].items()}
    unknown = [name for name in values["recipe"] if name not in described]
    if unknown:
        raise InputError(f"recipe lists stage {unknown[0]}, config.stages has {', '.join(described)}")
    return tuple(
        from_values(StageConfig, {"name": name, **described[name]}, f"stages.{name}") for name in values["recipe"]
    )


def _speaks(task: str) -> bool:
    """Whether a mixture's rows, or pairs, of this name have spoken replies."""
    return is_spoken(task) or task.endswith(SPOKEN)


def _spoken_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: not _speaks(item[0])))


def _spoken_rows(stage: Mapping[str, Any]) -> int | None:
    """Rows of a stage's batch with a spoken reply; `Materials.data` lays them first. A pair takes two."""
    counts = stage.get("data", {}).get("counts", {})
    rows = 2 if stage.get("loss") == "preference" else 1
    return rows * sum(count for task, count in counts.items() if _speaks(task)) or None


def make_recipe(config: ConfigDict, model: ModelConfig, layout: Layout | None) -> Recipe:
    """The recipe of a config, for a model that was fitted to its data."""
    initial = initial_folder(config.to_dict()["model"])
    return Recipe(model, stages(config), initial, layout, cast(Attention, config.get("attention", "einsum")))


def start(config: ConfigDict, workdir: Path, data_dir: Path) -> tuple[Materials, Recipe]:
    """Checks a config, claims the workdir for it, and makes everything that comes before training.

    Args:
      config: `model` (`preset` or `init_from`, and changes), `data` (`DataConfig`), `stages` by name, `recipe` (their
        names in order); `mesh`, `rules`, `attention` (`experiments.layout`).
      workdir: of the run.
      data_dir: of data sets.

    Raises:
      InputError: a bad config, or the workdir holds another one.
    """
    values = config.to_dict()
    data, layout = data_config(config), layout_of(config)
    make_recipe(config, base_model(values["model"]), layout)
    with first_goes_first("materials"):
        claim(workdir, values)
        materials = prepare(data, values["model"], workdir, data_dir, layout)
    return materials, make_recipe(config, materials.model, layout)
