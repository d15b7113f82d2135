"""Batches on a mesh: their logical axes, and how the rows of a host become part of the global batch."""

import dataclasses
from typing import Any, Final, TypeVar, cast

import jax
import numpy as np
from jax.sharding import NamedSharding

from fac_jax import axes
from fac_jax.parallel.mesh import Layout
from fac_jax.types import NO_FRAME, Batch, InputError, PreferenceBatch

MEL_FRAMES = 4  # mel frames (100 Hz) of an encoder frame (25 Hz)
B = TypeVar("B", Batch, PreferenceBatch)

_GRID: Final = (axes.BATCH, axes.LENGTH)
_FINE: Final = (*_GRID, None)
NAMES: Final = Batch(
    text_ids=cast(Any, _GRID),
    kind=cast(Any, _GRID),
    speech_ids=cast(Any, _FINE),
    has_waveform=cast(Any, _GRID),
    frame_index=cast(Any, _FINE),
    segment_ids=cast(Any, _GRID),
    positions=cast(Any, _GRID),
    labels=cast(Any, _GRID),
    speech_labels=cast(Any, _FINE),
    mel_windows=cast(Any, (axes.WINDOWS, None, None)),
    mel_lengths=cast(Any, (axes.WINDOWS,)),
)
PAIR_NAMES: Final = PreferenceBatch(
    batch=NAMES, tasks=cast(Any, (axes.BATCH, None)), reference=cast(Any, (axes.BATCH, None, None))
)


@dataclasses.dataclass(frozen=True)
class HostShard:
    """The rows of every batch that a host brings: part `host` of `hosts` equal parts."""

    host: int = 0
    hosts: int = 1


def host_shard(layout: Layout) -> HostShard:
    """Returns the rows of this process. Processes that hold the same shards of the batch bring the same rows.

    Raises:
      InputError: processes hold overlapping, unequal parts of the batch.
    """
    sharding = NamedSharding(layout.mesh, jax.sharding.PartitionSpec(layout.axes(axes.BATCH)))
    shards = layout.shards(axes.BATCH)
    owned: dict[int, set[int]] = {}
    for device, (rows, *_) in sharding.devices_indices_map((shards,)).items():
        owned.setdefault(device.process_index, set()).add(rows.start or 0)
    parts = sorted({tuple(sorted(part)) for part in owned.values()})
    if sorted(row for part in parts for row in part) != list(range(shards)) or len({len(p) for p in parts}) > 1:
        told = " x ".join(f"{axis}={layout.mesh.shape[axis]}" for axis in layout.axes(axes.BATCH))
        raise InputError(f"the {len(owned)} processes do not divide the rows over {told} evenly; change the mesh")
    return HostShard(parts.index(tuple(sorted(owned[jax.process_index()]))), len(parts))


def place_batch(batch: B, layout: Layout) -> B:
    """Makes the global batch on the mesh from the batch of this host.

    The frame indices of the global batch count the windows of all hosts.

    Args:
      batch: numpy arrays with the same number of parts (`Batch.parts`) on every host, with or without a leading axis of
        micro-batches.
      layout: mesh of the global batch.

    Raises:
      InputError: the mesh does not divide the rows, the windows, or the positions of a row.
    """
    shard = host_shard(layout)
    grid = batch.batch if isinstance(batch, PreferenceBatch) else batch
    windows, mel_frames = grid.mel_windows.shape[-3:-1]
    first = shard.host * windows * (mel_frames // MEL_FRAMES)
    moved = np.where(np.asarray(grid.frame_index) == NO_FRAME, NO_FRAME, grid.frame_index + first)
    grid = dataclasses.replace(grid, frame_index=moved, parts=grid.parts * shard.hosts)
    whole, names = grid, NAMES
    if isinstance(batch, PreferenceBatch):
        whole, names = dataclasses.replace(batch, batch=grid), PAIR_NAMES

    def placed(path: Any, leaf: Any, called: tuple[str | None, ...]) -> jax.Array:
        called = (*[None] * (leaf.ndim - len(called)), *called)
        shape = tuple(
            size * shard.hosts if name in (axes.BATCH, axes.WINDOWS) else size
            for size, name in zip(leaf.shape, called, strict=True)
        )
        sharding = layout.sharding(called, shape, f"batch.{jax.tree_util.keystr(path, simple=True, separator='.')}")
        return jax.make_array_from_process_local_data(sharding, np.asarray(leaf), shape)

    leaves, tree = jax.tree_util.tree_flatten_with_path(whole)
    called = jax.tree.leaves(names, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return jax.tree.unflatten(tree, [placed(*leaf, name) for leaf, name in zip(leaves, called, strict=True)])
