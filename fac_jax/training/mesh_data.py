"""Data whose batches lie on a mesh."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fac_jax.parallel import hosts
from fac_jax.parallel.batches import host_shard, place_batch
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.shards import resharded
from fac_jax.training.interfaces import Data, Loaded


class MeshData:
    """Another's batches, placed on a mesh. Of several hosts each brings its rows; the numbers are those of all."""

    def __init__(self, data: Data, layout: Layout) -> None:
        self._data, self._layout, self._shard = data, layout, host_shard(layout)
        self._sum = jax.jit(lambda parts: parts.sum(axis=0), out_shardings=layout.whole())

    def __next__(self) -> Loaded:
        loaded: Any = next(self._data)
        if self._shard.hosts > 1:
            audio, tokens = self._together([loaded.audio_seconds, loaded.tokens])
            loaded = dataclasses.replace(loaded, audio_seconds=audio, tokens=tokens)
        return dataclasses.replace(loaded, batch=place_batch(loaded.batch, self._layout))

    def _together(self, numbers: list[float]) -> jax.Array:
        """Sums over the hosts, queued on the devices before the step, so that nobody waits for them."""
        mesh = Mesh(self._layout.mesh.devices.reshape(-1), ("all",))
        local = len(jax.local_devices()) * (jax.process_count() // self._shard.hosts)
        parts = np.tile(np.array(numbers, np.float32) / local, (len(jax.local_devices()), 1))
        return self._sum(jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("all")), parts))

    def get_state(self) -> dict[str, Any]:
        """Those of the data of all hosts."""
        mine = {"shard": self._shard.host, "state": self._data.get_state()}
        found = {one["shard"]: one["state"] for one in hosts.everybodys(mine)}
        return {"hosts": [found[index] for index in sorted(found)]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on where `get_state` was called, perhaps with another number of hosts."""
        states = state.get("hosts", [state])
        index, count = self._shard.host, self._shard.hosts
        if len(states) != count:
            same = all(one == states[0] for one in states)  # data whose hosts cut one batch
            states = [states[0]] * count if same and "waiting" not in states[0] else resharded(states, count)
        self._data.set_state(states[index])

    def close(self) -> None:
        """Ends what makes the batches."""
        self._data.close()
