"""A stage of training is data: what trains, on which loss, how fast, on which rows."""

import dataclasses
from typing import Any, Literal

from fac_jax.training.optimizer import OptimizerConfig


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """One stage of a recipe.

    Attributes:
      name: also the folder of the stage in the workdir.
      steps: updates.
      optimizer: AdamW and its schedule.
      data: mixture of tasks and the static shapes of a batch, as the data factory reads them.
      loss: "sft" for next-token cross-entropy of both streams, "ctc" for the encoder's warm-up on transcripts.
      trainable: regular expressions of the parameter paths that train ("" matches all, "encoder/" the encoder).
      text_weight: lambda, weight of the text loss.
      speech_weight: mu, weight of the speech loss; at 0 the refined head is not run.
      spoken_rows: how many rows of a batch, the first ones, can have speech labels: the refined head is run on them
        alone. None for all.
      chunk: LLM positions whose logits are held at once.
      seed: of the data's order, and of the parameters in the first stage.
      checkpoint_every: steps between checkpoints.
      keep: checkpoints kept.
      start_from: earlier stage whose parameters this one starts from; the stage before it if None.
    """

    name: str
    steps: int
    optimizer: OptimizerConfig
    data: dict[str, Any]
    loss: Literal["sft", "ctc"] = "sft"
    trainable: tuple[str, ...] = ("",)
    text_weight: float = 1.0
    speech_weight: float = 1.0
    spoken_rows: int | None = None
    chunk: int = 256
    seed: int = 0
    checkpoint_every: int = 100
    keep: int = 2
    start_from: str | None = None
