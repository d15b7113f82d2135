"""Data whose batches lie on a mesh."""

import dataclasses
from typing import Any

from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.mesh import Layout
from fac_jax.training.interfaces import Data, Loaded


class PlacedData:
    """Another's batches, placed on a mesh."""

    def __init__(self, data: Data, layout: Layout) -> None:
        self._data, self._layout = data, layout

    def __next__(self) -> Loaded:
        loaded: Any = next(self._data)
        return dataclasses.replace(loaded, batch=place_batch(loaded.batch, self._layout))

    def get_state(self) -> dict[str, Any]:
        """That of the data."""
        return self._data.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        """That of the data."""
        self._data.set_state(state)
