"""What a stage's `data` says, however its rows are made: shapes, mixture, which rows are spoken."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_pipelines.loading.packed import (
    CollatePacked,
    PackedConfig,
    load_packed,
)
from data_pipelines.loading.sources import Source
from data_pipelines.worlds.tasks import is_spoken
from fac_jax import axes
from fac_jax.batching.pairs import SPOKEN
from fac_jax.config import from_values
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.batches import host_shard
from fac_jax.parallel.hosts import several
from fac_jax.parallel.mesh import Layout
from fac_jax.training.interfaces import Data
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError


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
    stage.loss.check_segments(config.segments, where)
    return dataclasses.replace(config, seed=stage.seed, micro_batches=stage.micro_batches)


def check_hosts(stage: StageConfig) -> None:
    """Whether several hosts can share a stage's data.

    Raises:
      InputError: there are several, and rows are laid out by counts, or a reference is stored, which one host makes.
    """
    if not several():
        return
    if "mixture" not in stage.data:
        raise InputError(
            f"stage {stage.name}: several hosts share packed rows; give its data a `mixture`, not `counts`"
        )
    if stage.loss.needs_reference == "stored":
        raise InputError(f'stage {stage.name}: a "stored" reference is made by one host; set loss.reference="frozen"')


def divisible(windows: int, layout: Layout | None) -> int:
    """So many windows, and as many more as a mesh needs to divide them."""
    shards = 1 if layout is None else layout.shards(axes.WINDOWS)
    return -(-windows // shards) * shards


def load_on(
    layout: Layout | None,
    sources: Mapping[str, Source],
    config: PackedConfig,
    model: ModelConfig,
    collate: CollatePacked,
) -> Data:
    """Packed batches of one device, or this host's share of those of a mesh."""
    if layout is None:
        return load_packed(sources, config, model, collate)
    shard = host_shard(layout)
    config = dataclasses.replace(config, parts=layout.shards(axes.BATCH) // shard.hosts, device_buffer=0)
    return load_packed(sources, config, model, collate, shard)


def speaks(task: str) -> bool:
    """Whether a mixture's rows, or pairs, of this name have spoken replies."""
    return is_spoken(task) or task.endswith(SPOKEN)


def spoken_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Rows of every task in a batch, those with spoken replies before the others; tasks of no row are left out."""
    present = {task: count for task, count in counts.items() if count}
    return dict(sorted(present.items(), key=lambda item: not speaks(item[0])))
