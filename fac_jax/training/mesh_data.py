"""The batches that training reads, and how they are made and put on their devices ahead of the steps, in a thread."""

import dataclasses
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final, Protocol

import jax

from fac_jax.batching.loaded import Loaded
from fac_jax.parallel.batches import host_shard, place_batch
from fac_jax.parallel.mesh import Layout

AHEAD: Final = 2  # batches that are on the devices, or on their way, before a step asks for them


class Data(Protocol):
    """Endless batches."""

    def __next__(self) -> Loaded:
        """The next batch."""
        ...

    def get_state(self) -> dict[str, Any]:
        """A JSON-able state that says which batch follows the last one returned."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes where `get_state` was called."""
        ...

    def close(self) -> None:
        """Ends the threads and processes that make batches."""
        ...


class MeshData:
    """Places the batches of other data on a mesh, or on one device.

    With several hosts, each brings its rows. One thread packs, collates and transfers at most `AHEAD` batches ahead of
    the steps, in their order. It runs no program on the devices: all hosts must start programs in the same order.
    """

    def __init__(self, data: Data, layout: Layout | None) -> None:
        """Takes the batches of this host, in numpy; only the thread reads them once the first was asked for."""
        self._data, self._layout = data, layout
        self._hosts = 1 if layout is None else host_shard(layout).hosts
        self._state = data.get_state()  # after the batch that was last handed out
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mesh data")
        self._ahead: deque[Future[tuple[Loaded, dict[str, Any]]]] = deque()

    def __next__(self) -> Loaded:
        while len(self._ahead) <= AHEAD:
            self._ahead.append(self._thread.submit(self._make))
        loaded, self._state = self._ahead.popleft().result()
        return loaded

    def _make(self) -> tuple[Loaded, dict[str, Any]]:
        """The next batch on its devices, and the state of the data after it; runs in the thread."""
        loaded: Any = next(self._data)
        state = self._data.get_state()
        batch = jax.device_put(loaded.batch) if self._layout is None else place_batch(loaded.batch, self._layout)
        # Hosts have about equal shares; exact sums would take a collective in every step.
        numbers = {name: getattr(loaded, name) * self._hosts for name in ("audio_seconds", "tokens")}
        return dataclasses.replace(loaded, batch=batch, **numbers), state

    def get_state(self) -> dict[str, Any]:
        """Returns the state of the data after the batch that was last returned, however many were made ahead."""
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        """Resumes where `get_state` was called, perhaps with another number of hosts."""
        self._drop()
        self._data.set_state(state)
        self._state = state

    def close(self) -> None:
        """Ends the thread, after the batch that it is making, and the data."""
        self._drop()
        self._thread.shutdown()
        self._data.close()

    def _drop(self) -> None:
        """Forgets the batches that were made ahead and waits until the thread is idle."""
        wait([future for future in self._ahead if not future.cancel()])
        self._ahead.clear()
