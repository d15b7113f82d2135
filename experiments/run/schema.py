"""The whole config of a run as dataclasses: every field is a key, for the command line, for a sweep and from Python.

`experiments/configs/base.py` builds the ConfigDict, `experiments/run/config.py` turns one into a `RunConfig`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.importers.registry import check_options, format_of
from data_pipelines.prepare.settings import Source
from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.preferences import PairsConfig
from fac_jax.codec.unit_codec import UnitCodecConfig
from fac_jax.config import to_tree
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import DEFAULT_RULES, Layout, make_layout
from fac_jax.training.evals import EvalConfig
from fac_jax.training.stage import StageConfig
from fac_jax.training.trackers import DEFAULT
from fac_jax.types import InputError

PREPARED: Final = "prepared"
MODEL_SOURCE: Final = ("preset", "init_from", "encoder_from")  # keys of `model` that are no fields of ModelConfig


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
        """Returns what is read for evaluation; None for a set without; raises as `source`."""
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
      waves: changes of what users say in the toy world's questions and transcripts; its preference pairs, and what is
        made of them, stay as they are.
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
    waves: WaveAugmentConfig = WaveAugmentConfig()
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
      encoder_from: Whisper whose encoder the model of a preset gets (`run/ears.py`); None for a fresh one.
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
    encoder_from: str | None = None
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
        """Returns the layout over all devices, None for one, where no axis is set; raises as `make_layout`."""
        return make_layout(self.mesh.sizes, self.rules) if self.mesh.sizes else None

    def tree(self) -> dict[str, Any]:
        """Returns the resolved config as a nested dict, JSON-able and in the shape of the ConfigDict."""
        tree = to_tree(self)
        stages = {stage.pop("name"): stage for stage in tree.pop("stages")}
        source = {key: tree.pop(key) for key in MODEL_SOURCE}
        model = source | tree.pop("model")
        return {"seed": tree.pop("seed"), "recipe": tuple(stages), "model": model, **tree, "stages": stages}
