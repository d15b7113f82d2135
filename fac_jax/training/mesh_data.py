"""Data whose batches lie on a mesh."""

import dataclasses
from typing import Any

from fac_jax.batching.loaded import Loaded
from fac_jax.parallel.batches import host_shard, place_batch
from fac_jax.parallel.mesh import Layout
from fac_jax.training.interfaces import Data


class MeshData:
    """The batches of other data, placed on a mesh. Every host brings its rows; the numbers are those of all hosts."""

    def __init__(self, data: Data, layout: Layout) -> None:
        self._data, self._layout, self._hosts = data, layout, host_shard(layout).hosts

    def __next__(self) -> Loaded:
        loaded: Any = next(self._data)
        # Hosts have about equal shares; the exact sums would take a collective in every step.
        numbers = {name: getattr(loaded, name) * self._hosts for name in ("audio_seconds", "tokens")}
        return dataclasses.replace(loaded, batch=place_batch(loaded.batch, self._layout), **numbers)

    def get_state(self) -> dict[str, Any]:
        """Returns what the next batch follows from; the same on every host."""
        return self._data.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where `get_state` was called, perhaps with another number of hosts."""
        self._data.set_state(state)

    def close(self) -> None:
        """Ends what makes the batches."""
        self._data.close()
