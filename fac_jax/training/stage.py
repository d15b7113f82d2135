"""Config of a stage of training: what trains, on which loss, how fast, on which rows."""

import dataclasses
import re
from typing import Final

from fac_jax.batching.batch_config import BatchConfig
from fac_jax.losses import AnyLoss, Sft
from fac_jax.models.lora import LoraConfig
from fac_jax.precision import Precision
from fac_jax.training.base import BaseConfig
from fac_jax.training.merge import SHARED_LLM
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.types import InputError

LEAST: Final = {"steps": 0, "checkpoint_every": 1, "keep": 1, "micro_batches": 1}  # least value by key


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """Core-Cocktail's merge before a stage (paper, section 2.3).

    Attributes:
      start: earlier stage whose model is M_0, what the LLM knew; None for the model that the recipe starts from.
      alphas: share of the model that the stage starts from, by the regular expression of the parameters' paths.
    """

    start: str | None = None
    alphas: dict[str, float] = dataclasses.field(default_factory=lambda: {SHARED_LLM: 0.5})


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of a recipe.

    Attributes:
      name: name of the stage, and of its folder in the workdir.
      steps: number of updates; 0 for a stage that only merges.
      optimizer: AdamW and its schedule.
      data: mixture of sets and the static shapes of a batch.
      loss: what is minimised (`fac_jax.losses`); in a config `{"kind": "sft", ..}`.
      trainable: regular expressions of the parameter paths that train ("" matches all, "encoder/" the encoder), next to
        the adapter if the stage has one; None for all, or for the adapter alone.
      lora: adapter that trains in place of the kernels; the stage's model is the merged one. None for none.
      base: form in which what does not train is held (`training/base.py`).
      seed: seed of the data's order, and of the parameters in the first stage.
      checkpoint_every: steps between checkpoints.
      keep: number of checkpoints that are kept.
      start_from: earlier stage whose parameters this one starts from; the stage before it if None.
      merge: merge with an earlier stage's model before the first step.
      micro_batches: number of parts that the rows of a batch are cut into, whose gradients are summed one after the
        other.
      precision: precision of float32 matrix products (`fac_jax/precision.py`).

    Raises:
      InputError: a number that no stage can have; names the stage and the key.
    """

    name: str
    steps: int
    optimizer: OptimizerConfig = OptimizerConfig(peak=0.0)
    data: BatchConfig = BatchConfig()
    loss: AnyLoss = Sft()
    trainable: tuple[str, ...] | None = None
    lora: LoraConfig | None = None
    base: BaseConfig = BaseConfig()
    seed: int = 0
    checkpoint_every: int = 100
    keep: int = 2
    start_from: str | None = None
    merge: MergeConfig | None = None
    micro_batches: int = 1
    precision: Precision = "default"

    def __post_init__(self) -> None:
        for key, least in LEAST.items():
            if getattr(self, key) < least:
                raise InputError(f"stages.{self.name}.{key} is {getattr(self, key)}; it must be at least {least}")
        for pattern in self.trainable or ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(
                    f"stages.{self.name}.trainable: {pattern!r} is no regular expression: {error}"
                ) from None
        if self.base.changes and self.lora is None:
            raise InputError(f"stages.{self.name}.base: what is held in fewer bits is the base of an adapter: set lora")
        if self.loss.needs_reference == "adapter_off" and (
            self.lora is None or self.patterns != self.lora.patterns[:1]
        ):
            raise InputError(
                f'stages.{self.name}: loss.reference "adapter_off" is the model without its adapter, so nothing else '
                "trains: set lora, without the target tables, and leave trainable out"
            )

    @property
    def patterns(self) -> tuple[str, ...]:
        """Returns the regular expressions of the paths of all parameters that train."""
        if self.lora is None:
            return ("",) if self.trainable is None else self.trainable
        return (*self.lora.patterns, *(self.trainable or ()))
