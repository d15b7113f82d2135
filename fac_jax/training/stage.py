"""A stage of training is data: what trains, on which loss, how fast, on which rows."""

import dataclasses
from typing import Any, Literal

from fac_jax.training.merge import SHARED_LLM
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.preference import PreferenceConfig


@dataclasses.dataclass(frozen=True)
class MergeConfig:
    """Core-Cocktail's merge before a stage (paper, section 2.3).

    Attributes:
      start: earlier stage whose model is M_0, what the LLM knew.
      alphas: share of the model that the stage starts from, by the regular expression of the parameters' paths.
    """

    start: str
    alphas: dict[str, float] = dataclasses.field(default_factory=lambda: {SHARED_LLM: 0.5})


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of a recipe.

    Attributes:
      name: also the folder of the stage in the workdir.
      steps: updates; 0 for a stage that only merges.
      optimizer: AdamW and its schedule.
      data: mixture of tasks and the static shapes of a batch, as the data factory reads them.
      loss: "sft" for next-token cross-entropy of both streams, "ctc" for the encoder's warm-up on transcripts alone,
        "preference" for pairs of replies.
      trainable: regular expressions of the parameter paths that train ("" matches all, "encoder/" the encoder).
      text_weight: lambda, weight of the text loss.
      speech_weight: mu, weight of the speech loss; at 0 the refined head is not run.
      ctc_weight: weight of the encoder's CTC against the text labels beside the "sft" loss; for transcription rows.
      preference: of the "preference" loss.
      spoken_rows: how many rows of a batch, the first ones, can have speech labels: the refined head is run on them
        alone. None for all.
      chunk: LLM positions whose logits are held at once.
      logits_dtype: in which they are held; softmax and losses are float32.
      seed: of the data's order, and of the parameters in the first stage.
      checkpoint_every: steps between checkpoints.
      keep: checkpoints kept.
      start_from: earlier stage whose parameters this one starts from; the stage before it if None.
      merge: with an earlier stage's model before the first step.
      micro_batches: parts of a batch whose gradients are summed one after the other, each with the rows that `data`
        names.
    """

    name: str
    steps: int
    optimizer: OptimizerConfig = OptimizerConfig(peak=0.0)
    data: dict[str, Any] = dataclasses.field(default_factory=dict)
    loss: Literal["sft", "ctc", "preference"] = "sft"
    trainable: tuple[str, ...] = ("",)
    text_weight: float = 1.0
    speech_weight: float = 1.0
    ctc_weight: float = 0.0
    preference: PreferenceConfig = PreferenceConfig()
    spoken_rows: int | None = None
    chunk: int = 256
    logits_dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    checkpoint_every: int = 100
    keep: int = 2
    start_from: str | None = None
    merge: MergeConfig | None = None
    micro_batches: int = 1
