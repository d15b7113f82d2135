"""`data` of a config that trains on rows of one's own, held against its stages before anything is made."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.importers.registry import check_options, format_of
from data_pipelines.importers.transcripts import View
from data_pipelines.prepare.settings import Source
from experiments.run.stage_data import packed_config
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, UserAudio

PREPARED: Final = "prepared"
NAME: Final = re.compile(r"[A-Za-z0-9_]+")


@dataclasses.dataclass(frozen=True)
class SetConfig:
    """Rows of one kind.

    Attributes:
      path: file or folder in any of the formats of docs/data.md, or a prepared folder.
      format: its name there; None where the path tells it.
      root: where audio paths that are not absolute start; None for the file's folder.
      view: of recordings with transcripts: "asr" writes down what is heard, "tts" speaks what is written.
      split: of a folder of several; None for "train" of a prepared one, and for all of another.
      waves: changes of what users say, drawn anew every epoch.
    """

    path: str
    format: str | None = None
    root: str | None = None
    view: View = "asr"
    split: str | None = None
    waves: WaveAugmentConfig = WaveAugmentConfig()

    def source(self, where: str) -> Source:
        """What is read.

        Raises:
          InputError: there is no such path or format, or a view or split that it does not have; `where` names the set.
        """
        if not self.path:
            raise InputError(f"config key {where}.path is not set: --config.{where}.path=PATH, rows to train on")
        try:
            format = format_of(Path(self.path), self.format)
            split = "train" if format == PREPARED and self.split is None else self.split
            check_options(format, self.view, split)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        return Source(self.path, format, self.root, self.view, split)


@dataclasses.dataclass(frozen=True)
class RecordsConfig:
    """Rows of one's own, and what reads them where the model to start from brings none.

    Attributes:
      sets: by the names that mixtures call them.
      tokenizer: `tokenizer.json` or its folder; None trains one on the rows.
      codec: folder of the codec that speech without tokens is encoded with: replies, and what users say where the model
        hears tokens (`ModelConfig.user_audio`).
      units: of an offline codec that is fitted on such replies; None, with `codec` None too, where all replies are text
        or bring tokens.
      vocab_size: upper bound of the vocabulary of a tokenizer that is trained.
      processes: that prepare rows.
    """

    sets: Mapping[str, SetConfig]
    tokenizer: str | None = None
    codec: str | None = None
    units: int | None = None
    vocab_size: int = 8192
    processes: int = 1


def check(data: RecordsConfig, stages: Sequence[StageConfig], user_audio: UserAudio) -> None:
    """Holds the sets, the stages and what the model hears against each other before anything is made.

    Raises:
      InputError: a set that cannot be read, a mixture of sets that are not there, data that packed batches cannot have,
        or stored references or tokens of audio that changes every epoch.
    """
    if data.codec is not None and data.units is not None:
        raise InputError(f"config keys data.codec ({data.codec}) and data.units ({data.units}): set one of them")
    for name, one in data.sets.items():
        if not NAME.fullmatch(name):
            raise InputError(f"data.sets: {name!r} is no name of letters, digits and underscores")
        one.source(f"data.sets.{name}")
        if user_audio == "tokens" and one.waves.operations():
            raise InputError(
                f"data.sets.{name}.waves changes what is heard every epoch, whose tokens are made once: leave it out, "
                'or set model.user_audio = "waveform"'
            )
    for stage in stages:
        if not stage.steps:
            continue
        mixture = packed_config(stage, windows=1).mixture
        unknown = [name for name in mixture if name not in data.sets]
        if unknown or not mixture:
            wrong = f"names {unknown[0]!r}" if unknown else "is empty"
            raise InputError(f"stages.{stage.name}.data.mixture {wrong}; data.sets has {', '.join(data.sets)}")
        changed = [name for name in mixture if data.sets[name].waves.operations()]
        if stage.loss.needs_reference == "stored" and changed:
            raise InputError(
                f"stages.{stage.name}: data.sets.{changed[0]}.waves changes what is heard every epoch, which a stored "
                'reference has not heard: set loss.reference = "frozen"'
            )
