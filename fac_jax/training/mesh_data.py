"""Data whose batches lie on a mesh, made and transferred ahead of the steps in a thread."""

import dataclasses
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from fac_jax.parallel import hosts
from fac_jax.parallel.batches import host_shard, place_batch
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.shards import resharded
from fac_jax.training.interfaces import Data, Loaded

AHEAD: Final = 2  # batches that are on the devices, or on their way, before a step asks for them


class MeshData:
    """Places the batches of other data on a mesh.

    With several hosts, each brings its rows, and `audio_seconds` and `tokens` are sums over all hosts. One thread
    packs, collates and transfers at most `AHEAD` batches ahead of the steps, in their order. The thread runs no program
    on the devices: all hosts must start programs in the same order, so sums over hosts run in the caller's thread.

    Attributes:
      data: batches of this host, in numpy. Only the thread reads them once the first batch was asked for.
      layout: the mesh.
    """

    def __init__(self, data: Data, layout: Layout) -> None:
        self._data, self._layout, self._shard = data, layout, host_shard(layout)
        self._sum = jax.jit(lambda parts: parts.sum(axis=0), out_shardings=layout.whole())
        self._state = data.get_state()  # after the batch that was last handed out
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mesh data")
        self._ahead: deque[Future[tuple[Loaded, dict[str, Any]]]] = deque()

    def __next__(self) -> Loaded:
        while len(self._ahead) < AHEAD:
            self._ahead.append(self._thread.submit(self._make))
        loaded, self._state = self._ahead.popleft().result()
        self._ahead.append(self._thread.submit(self._make))
        if self._shard.hosts == 1:
            return loaded
        audio, tokens = self._summed([loaded.audio_seconds, loaded.tokens])
        return dataclasses.replace(loaded, audio_seconds=audio, tokens=tokens)  # pyright: ignore[reportArgumentType]

    def _make(self) -> tuple[Loaded, dict[str, Any]]:
        """The next batch on the mesh, and the state of the data after it; runs in the thread."""
        loaded: Any = next(self._data)
        state = self._data.get_state()
        return dataclasses.replace(loaded, batch=place_batch(loaded.batch, self._layout)), state

    def _summed(self, numbers: list[float]) -> jax.Array:
        """Sums over the hosts, queued on the devices before the step, so that no host waits for the result."""
        mesh = Mesh(self._layout.mesh.devices.reshape(-1), ("all",))
        local = len(jax.local_devices()) * (jax.process_count() // self._shard.hosts)
        parts = np.tile(np.array(numbers, np.float32) / local, (len(jax.local_devices()), 1))
        return self._sum(jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("all")), parts))

    def get_state(self) -> dict[str, Any]:
        """The states of all hosts' data after the batch that was last returned, however many were made ahead."""
        mine = {"shard": self._shard.host, "state": self._state}
        found = {one["shard"]: one["state"] for one in hosts.everybodys(mine)}
        return {"hosts": [found[index] for index in sorted(found)]}

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes where `get_state` was called, perhaps with another number of hosts."""
        states = state.get("hosts", [state])
        index, count = self._shard.host, self._shard.hosts
        if len(states) != count:
            same = all(one == states[0] for one in states)  # data whose hosts cut one batch
            states = [states[0]] * count if same and "waiting" not in states[0] else resharded(states, count)
        self._drop()
        self._data.set_state(states[index])
        self._state = states[index]

    def close(self) -> None:
        """Ends the thread, after the batch that it is making, and the data."""
        self._drop()
        self._thread.shutdown()
        self._data.close()

    def _drop(self) -> None:
        """Forgets the batches that were made ahead and waits until the thread is idle."""
        wait([future for future in self._ahead if not future.cancel()])
        self._ahead.clear()
