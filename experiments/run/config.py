"""The whole config of a run as dataclasses, and how a ConfigDict becomes one.

`experiments/configs/base.py` builds the ConfigDict; every field here is a key of it, and can be set from the command
line, from a sweep and from Python.
"""

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ml_collections import ConfigDict

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.importers.registry import check_options, format_of
from data_pipelines.prepare.settings import Source
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.preferences import PairsConfig
from data_pipelines.worlds.schema import PAIR_SPLITS
from data_pipelines.worlds.views import VIEWS
from fac_jax.batching.batch_config import check_divides
from fac_jax.checkpoint.export import load_config, resolve
from fac_jax.codec.unit_codec import UnitCodecConfig
from fac_jax.config import from_tree, is_unset, nearest, to_tree
from fac_jax.models.config import ModelConfig
from fac_jax.models.presets import preset
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import DEFAULT_RULES, Layout, make_layout
from fac_jax.training.evals import EvalConfig
from fac_jax.training.recipe import check_starts
from fac_jax.training.stage import StageConfig
from fac_jax.training.trackers import DEFAULT, check_trackers
from fac_jax.types import InputError

PREPARED: Final = "prepared"
NAME: Final = re.compile(r"[A-Za-z0-9_]+")
MODEL_SOURCE: Final = ("preset", "init_from")  # keys of `model` that are no fields of ModelConfig


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along each axis of the mesh (docs/scaling.md); None is 1, and -1 takes the devices that are left.

    One device is used where no axis is set.
    """

    dcn_data: int | None = None
    data: int | None = None
    fsdp: int | None = None
    expert: int | None = None
    context: int | None = None
    tensor: int | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Returns the axes that are set."""
        return {axis: size for axis, size in vars(self).items() if size is not None}


@dataclasses.dataclass(frozen=True)
class SetConfig:
    """Rows of one kind.

    Attributes:
      path: file or folder in any of the formats of docs/data.md, or a prepared folder.
      format: its name there; None where the path tells it.
      root: where audio paths that are not absolute start; None for the file's folder.
      view: of recordings with transcripts: "asr" writes down what is heard, "tts" speaks what is written; of a toy
        world the name of a task.
      split: of a folder of several; None for "train" of a prepared one, and for all of another.
      eval_path: rows to evaluate on, in the same format; None for those of `path`.
      eval_split: of a folder of several; None, with `eval_path` None too, for a set without rows to evaluate on.
      waves: changes of what users say, drawn anew every epoch of training.
    """

    path: str | None = None
    format: str | None = None
    root: str | None = None
    view: str = "asr"
    split: str | None = None
    eval_path: str | None = None
    eval_split: str | None = None
    waves: WaveAugmentConfig = WaveAugmentConfig()

    def source(self, where: str) -> Source:
        """Returns what is read for training.

        Raises:
          InputError: the path or format does not exist, or has no such view or split; `where` names the set.
        """
        return self._source(where, "path", self.path, self.split, "train")

    def eval_source(self, where: str) -> Source | None:
        """Returns what is read for evaluation; None for a set without.

        Raises:
          InputError: see `source`.
        """
        if self.eval_path is None and self.eval_split is None:
            return None
        key = "path" if self.eval_path is None else "eval_path"
        return self._source(where, key, self.eval_path or self.path, self.eval_split, "dev")

    def _source(self, where: str, key: str, path: str | None, split: str | None, usual: str) -> Source:
        if not path:
            raise InputError(f"config key {where}.{key} is not set: --config.{where}.{key}=PATH, a file or folder")
        try:
            format = format_of(Path(path), self.format)
            split = usual if format == PREPARED and split is None else split
            check_options(format, self.view, split)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return Source(path, format, self.root, self.view, split)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The rows of a run, and what reads them where the model to start from brings none.

    Attributes:
      sets: rows by the names that mixtures call them.
      world: a toy world that is spoken first; its tasks are sets by their own names (docs/data.md). None for none.
      pairs: preference pairs of the toy world; None for none.
      tokenizer: `tokenizer.json` or its folder; None trains one on the rows.
      codec: folder of the codec that encodes speech without tokens: replies, and what users say where the model hears
        tokens (`ModelConfig.user_audio`).
      unit_codec: an offline codec that is fitted on the replies, where `codec` is None; None for none.
      vocab_size: upper bound of the vocabulary of a tokenizer that is trained.
      processes: that speak and prepare rows.
    """

    sets: Mapping[str, SetConfig] = dataclasses.field(default_factory=dict)
    world: WorldConfig | None = None
    pairs: PairsConfig | None = None
    tokenizer: str | None = None
    codec: str | None = None
    unit_codec: UnitCodecConfig | None = None
    vocab_size: int = 8192
    processes: int = 1


@dataclasses.dataclass(frozen=True)
class QuestionsConfig:
    """What the toy recipe's report asks.

    Attributes:
      stages: whose models answer the questions.
      alphas: shares of stage 1 in a merge, each of which is asked too.
    """

    stages: tuple[str, ...] = ()
    alphas: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that a run depends on.

    Attributes:
      model: of all stages; vocabulary and special ids of a preset are fitted to the tokenizer and the codec.
      stages: in the order of `recipe`.
      preset: that the model was made of; None where `init_from` is set.
      init_from: model that the first stage starts from; None for fresh parameters.
      seed: of the data's order, of the parameters and of toy worlds, wherever no other is given.
      data: rows.
      mesh: devices along each axis.
      rules: name of the sharding rules (`parallel/rules.py`).
      attention: kernels of the decoders (`parallel/kernels.py`).
      evals: evaluation while a stage trains.
      trackers: where curves go (`training/trackers.py`).
      stages_dir: folder of stages that runs share; None for none.
      questions: of the toy recipe's report.
    """

    model: ModelConfig
    stages: tuple[StageConfig, ...]
    preset: str | None = None
    init_from: str | None = None
    seed: int = 0
    data: DataConfig = DataConfig()
    mesh: MeshConfig = MeshConfig()
    rules: str = DEFAULT_RULES
    attention: Attention = "auto"
    evals: EvalConfig = EvalConfig()
    trackers: tuple[str, ...] = DEFAULT
    stages_dir: str | None = None
    questions: QuestionsConfig = QuestionsConfig()

    def layout(self) -> Layout | None:
        """Returns the layout over all devices; None for one device, where no axis of the mesh is set.

        Raises:
          InputError: see `make_layout`.
        """
        return make_layout(self.mesh.sizes, self.rules) if self.mesh.sizes else None

    def tree(self) -> dict[str, Any]:
        """Returns the resolved config as a nested dict, JSON-able and in the shape of the ConfigDict."""
        tree = to_tree(self)
        stages = {stage.pop("name"): stage for stage in tree.pop("stages")}
        source = {key: tree.pop(key) for key in MODEL_SOURCE}
        model = source | tree.pop("model")
        return {"seed": tree.pop("seed"), "recipe": tuple(stages), "model": model, **tree, "stages": stages}


def resolve_config(config: ConfigDict | Mapping[str, Any]) -> RunConfig:
    """Returns the config of a run, checked as far as its words tell; no data is read and no device is asked.

    Raises:
      InputError: an unknown key, a value that cannot be, stages that do not fit each other, or no such model.
    """
    tree = config.to_dict() if isinstance(config, ConfigDict) else dict(config)
    described, recipe = tree.pop("stages"), tree.pop("recipe", None)
    names = tuple(described) if recipe is None else tuple(recipe)
    unknown = [name for name in names if name not in described]
    if unknown:
        raise InputError(f"recipe lists stage {unknown[0]}{nearest(unknown[0], described)}")
    seed = tree.get("seed") or 0
    stages = tuple(_stage(name, described[name], seed) for name in names)
    source, model = _model(tree.pop("model"))
    for key, part in (("world", tree["data"].get("world")), ("unit_codec", tree["data"].get("unit_codec"))):
        if not is_unset(part) and part.get("seed") is None:
            tree["data"] = {**tree["data"], key: {**part, "seed": seed}}
    found = from_tree(RunConfig, {**tree, **source, "model": model, "stages": stages})
    check(found)
    return found


def shown_config(config: ConfigDict) -> dict[str, Any]:
    """Returns the whole resolved config as a JSON-able tree; without a model to start from, `model` as it was set.

    Raises:
      InputError: see `resolve_config`.
    """
    tree = config.to_dict()
    if any(tree["model"].get(key) for key in MODEL_SOURCE):
        return resolve_config(config).tree()
    shown = resolve_config({**tree, "model": {**tree["model"], "preset": "tiny"}}).tree()
    return {**shown, "model": tree["model"]}


def _stage(name: str, tree: Mapping[str, Any], seed: int) -> StageConfig:
    given = {**tree, "seed": seed} if tree.get("seed") is None else tree
    try:
        return from_tree(StageConfig, {"name": name, **given}, f"stages.{name}")
    except InputError as error:
        where = f"stages.{name}"
        raise (error if where in str(error) else InputError(f"{where}: {error}")) from None


def _model(tree: Mapping[str, Any]) -> tuple[dict[str, Any], ModelConfig]:
    """Returns the keys of where the model comes from, and its config with the changes of a tree."""
    source = {key: tree.get(key) or None for key in MODEL_SOURCE}
    if source["init_from"]:
        source["preset"] = None
        start = load_config(resolve(source["init_from"]))
    elif source["preset"]:
        start = preset(source["preset"])
    else:
        raise InputError("config key model.init_from is not set: --config.model.init_from=DIR, a model to start from")
    changes = {key: value for key, value in tree.items() if key not in MODEL_SOURCE}
    # Master weights are float32 whatever the dtype of the checkpoint, unless another dtype is asked for by name.
    values = _changed({**to_tree(start), "param_dtype": "float32"}, changes)
    return source, from_tree(ModelConfig, values, "model")


def _changed(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A tree with the values of another that are not None."""
    found = dict(tree)
    for key, value in changes.items():
        if isinstance(value, Mapping):
            inner = _changed(found.get(key) or {}, value)
            found[key] = inner if inner or key in tree and tree[key] is not None else None
        elif value is not None:
            found[key] = value
    return found


def check(config: RunConfig) -> None:
    """Checks the parts of a config against each other, before anything is made.

    Raises:
      InputError: stages that do not follow from each other, a mixture of sets that do not exist, batches that a loss
        cannot have, unknown trackers.
    """
    check_starts(config.stages)
    check_trackers(config.trackers)
    if config.data.codec is not None and config.data.unit_codec is not None:
        raise InputError(f"config keys data.codec ({config.data.codec}) and data.unit_codec: set one of them")
    known = set_names(config.data)
    wrong = [name for name in config.data.sets if not NAME.fullmatch(name)]
    if wrong:
        raise InputError(f"data.sets: {wrong[0]!r} is no name of letters, digits and underscores")
    for name, one in config.data.sets.items():
        if config.model.user_audio == "tokens" and one.waves.operations():
            raise InputError(
                f"data.sets.{name}.waves changes what is heard every epoch, whose tokens are made once: leave it out, "
                'or set model.user_audio = "waveform"'
            )
    for stage in config.stages:
        if stage.steps:
            _check_stage(config, stage, known)


def set_names(data: DataConfig) -> list[str]:
    """Returns the names of all sets, those of the toy world included."""
    tasks = [name for name, view in VIEWS.items() if data.pairs or view.splits is not PAIR_SPLITS]
    return [*data.sets, *(tasks if data.world else [])]


def _check_stage(config: RunConfig, stage: StageConfig, known: list[str]) -> None:
    where, mixture = f"stages.{stage.name}", stage.data.sources
    unknown = [name for name in mixture if name not in known]
    if unknown or not mixture:
        wrong = f"names {unknown[0]!r}{nearest(unknown[0], known)}" if unknown else "is empty"
        raise InputError(f"{where}.data.mixture {wrong}")
    stage.loss.check_model(config.model, where)
    stage.loss.check_segments(stage.data.segments, f"{where}.data")
    changed = [name for name in mixture if name in config.data.sets and config.data.sets[name].waves.operations()]
    if stage.loss.needs_reference == "stored" and changed:
        raise InputError(
            f"{where}: data.sets.{changed[0]}.waves changes what is heard every epoch, which a stored reference has "
            'not heard: set loss.reference = "frozen"'
        )
    if changed and stage.data.cache:
        raise InputError(f"{where}.data.cache keeps what data.sets.{changed[0]}.waves changes every epoch: unset one")
    check_divides(stage.data.batch_rows, stage.micro_batches, f"{where}.data.batch_rows")


def check_layout(config: RunConfig, layout: Layout | None) -> None:
    """Checks that the mesh divides the batches of every stage, and its rules the model.

    Raises:
      InputError: it does not; names the key and the nearest values that it divides.
    """
    shards = 1 if layout is None else layout.batch_shards
    for stage in config.stages:
        if stage.steps:
            name = f"stages.{stage.name}.data.batch_rows"
            check_divides(stage.data.batch_rows, shards * stage.micro_batches, name)
