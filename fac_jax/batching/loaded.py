"""A batch with the figures that the training loop reports about it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fac_jax.batching.batch_stats import BatchStats, batch_stats
from fac_jax.batching.collate import side_by_side
from fac_jax.batching.grid import Example
from fac_jax.batching.pairs import PairExample
from fac_jax.types import Batch, PreferenceBatch


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A batch and the figures of the items in it.

    Attributes:
      batch: input of a step, in numpy; every leaf has a leading axis of micro-batches if there are several.
      row_ids: ids of its conversations, in the order of its rows.
      audio_seconds: seconds of audio in it, heard and spoken.
      tokens: LLM positions in it that are not padding.
      stats: counts from which FLOPs are made.
    """

    batch: Batch | PreferenceBatch
    row_ids: list[str]
    audio_seconds: float
    tokens: int
    stats: BatchStats


def loaded(batch: Batch | PreferenceBatch, items: Sequence[Example | PairExample]) -> Loaded:
    """Returns a batch with the figures of its items."""
    stats = batch_stats(batch.batch if isinstance(batch, PreferenceBatch) else batch)
    seconds = sum(item.audio_seconds for item in items)
    return Loaded(batch, [item.id for item in items], seconds, int(stats.positions.sum()), stats)


def joined(parts: Sequence[Any]) -> Any:
    """Returns the batches of several parts side by side as one (`collate.side_by_side`)."""
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], Batch):
        return side_by_side(parts)
    return PreferenceBatch(
        batch=side_by_side([part.batch for part in parts]),
        tasks=np.concatenate([part.tasks for part in parts]),
        reference=np.concatenate([part.reference for part in parts]),
    )


def stacked(batches: Sequence[Any]) -> Any:
    """Returns micro-batches as one batch whose leaves have a leading axis; a single one is returned as it is."""
    return batches[0] if len(batches) == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
