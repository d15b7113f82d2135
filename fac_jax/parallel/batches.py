"""Batches on a mesh: their logical axes, and how the rows of a host become part of the global batch."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import jax
import numpy as np
from jax.sharding import NamedSharding

from fac_jax import axes
from fac_jax.parallel.mesh import Layout
from fac_jax.types import NO_FRAME, Batch, InputError, PreferenceBatch

B = TypeVar("B", Batch, PreferenceBatch)

_GRID: Final = (axes.BATCH, axes.LENGTH)
_FINE: Final = (*_GRID, None)
_REPLIES: Final = (axes.BATCH, None, None)
_WINDOWS: Final = (axes.WINDOWS, None, None)
NAMES: Final[Mapping[str, tuple[str | None, ...]]] = {  # logical axes by field; `_GRID` for the others
    "speech_ids": _FINE,
    "frame_index": _FINE,
    "speech_labels": _FINE,
    "mel_windows": _WINDOWS,
    "mel_lengths": _WINDOWS[:1],
    "features": _WINDOWS,
    "mel_blocks": _WINDOWS[:1],
    "tasks": _REPLIES[:2],
    "reference": _REPLIES,
}


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
        shown = " x ".join(f"{axis}={layout.mesh.shape[axis]}" for axis in layout.axes(axes.BATCH))
        raise InputError(f"the {len(owned)} processes do not divide the rows over {shown} evenly; change the mesh")
    return HostShard(parts.index(tuple(sorted(owned[jax.process_index()]))), len(parts))


def abstract_batch(part: B, layout: Layout, count: int) -> B:
    """Shapes, dtypes and shardings of a batch of `count` equal parts, of which one is given in numpy, on a mesh.

    There may be a leading axis of micro-batches.

    Raises:
      InputError: the mesh does not divide the rows, the windows, or the positions of a row.
    """

    def whole(path: Any, leaf: np.ndarray) -> jax.ShapeDtypeStruct:
        names = NAMES.get(path[-1].name, _GRID)
        names = (*[None] * (leaf.ndim - len(names)), *names)
        shape = tuple(
            size * count if name in (axes.BATCH, axes.WINDOWS) else size
            for size, name in zip(leaf.shape, names, strict=True)
        )
        what = f"batch.{jax.tree_util.keystr(path, simple=True, separator='.')}"
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=layout.sharding(names, shape, what))

    part = _with_rows(part, lambda rows: dataclasses.replace(rows, parts=rows.parts * count))
    return jax.tree_util.tree_map_with_path(whole, part)


def place_batch(batch: B, layout: Layout) -> B:
    """Makes the global batch on the mesh from the batch of this host.

    The frame indices of the global batch count the windows of all hosts.

    Args:
      batch: numpy arrays with the same number of parts (`Batch.parts`) on every host, with or without a leading axis of
        micro-batches.

    Raises:
      InputError: see `abstract_batch`.
    """
    shard = host_shard(layout)

    def moved(rows: Batch) -> Batch:
        frames = rows.mel_lengths.shape[-1] * rows.window_frames
        first, index = shard.host * frames, np.asarray(rows.frame_index)
        return dataclasses.replace(rows, frame_index=np.where(index == NO_FRAME, NO_FRAME, index + first))

    batch = _with_rows(batch, moved)
    leaves, tree = jax.tree.flatten(abstract_batch(batch, layout, shard.hosts))
    placed = [
        jax.make_array_from_process_local_data(like.sharding, np.asarray(leaf), like.shape)
        for leaf, like in zip(jax.tree.leaves(batch), leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, placed)


def _with_rows(batch: B, change: Callable[[Batch], Batch]) -> B:
    """A batch with its conversations, or those of its pairs, changed."""
    return (
        dataclasses.replace(batch, batch=change(batch.batch)) if isinstance(batch, PreferenceBatch) else change(batch)
    )
