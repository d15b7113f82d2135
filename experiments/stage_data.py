"""What a stage's `data` says, however its rows are made: shapes, mixture, which rows are spoken."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from data_pipelines.conversation import is_spoken
from data_pipelines.packed_loading import CollatePacked, PackedConfig, collate_examples, collate_preferences
from data_pipelines.pairs import SPOKEN
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError
from fac_jax.values import from_values

# What lays the rows of a stage with this loss out.
COLLATE: Final[Mapping[str, CollatePacked]] = {
    "sft": collate_examples,
    "ctc": collate_examples,
    "preference": collate_preferences,
}


def packed_config(stage: StageConfig, **found: Any) -> PackedConfig:
    """A stage's `data` as packed batches of its seed and micro-batches.

    Args:
      stage: its `data` has the keys of `PackedConfig`.
      found: values of keys that `data` leaves out.

    Raises:
      InputError: a key that packed data do not have, or one that is missing; CTC on rows of several conversations, or
        preferences without `segments`.
    """
    where = f"stages.{stage.name}.data"
    config = from_values(PackedConfig, {**found, **stage.data}, where)
    if (stage.loss == "ctc" or stage.ctc_weight) and config.segments != 1:
        raise InputError(f"config key {where}.segments is {config.segments}: CTC needs 1, a conversation a row")
    if stage.loss == "preference" and config.segments is None:
        raise InputError(f"config key {where}.segments is missing: preferences need the most pairs of a row")
    return dataclasses.replace(config, seed=stage.seed, micro_batches=stage.micro_batches)


def speaks(task: str) -> bool:
    """Whether a mixture's rows, or pairs, of this name have spoken replies."""
    return is_spoken(task) or task.endswith(SPOKEN)


def spoken_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Rows of every task in a batch, those with spoken replies before the others."""
    return dict(sorted(counts.items(), key=lambda item: not speaks(item[0])))


def spoken_rows(stage: Mapping[str, Any]) -> int | None:
    """Rows of a stage's batch with a spoken reply; `spoken_first` lays them first. A pair takes two."""
    counts = stage.get("data", {}).get("counts", {})
    rows = 2 if stage.get("loss") == "preference" else 1
    return rows * sum(count for task, count in counts.items() if speaks(task)) or None
