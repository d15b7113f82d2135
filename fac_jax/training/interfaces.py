"""What the loop needs of data and of a checkpoint store, which are implemented in packages of their own."""

from typing import Any, Protocol

from etils import epath

from fac_jax.batching.loaded import Loaded


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


class Store(Protocol):
    """Checkpoints of one stage, by the number of updates made."""

    def latest(self) -> int | None:
        """Step of the newest complete checkpoint, or None."""
        ...

    def path(self, step: int) -> epath.Path:
        """Folder of a checkpoint."""
        ...

    def save(self, step: int, params: Any, opt_state: Any, data_state: dict[str, Any], frozen: Any = None) -> None:
        """Writes a checkpoint of what trains, and once the frozen parameters; the arrays may be donated afterwards."""
        ...

    def restore(self, step: int, params: Any, opt_state: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Reads a checkpoint into the shapes and shardings of the given trainable parameters and optimizer state."""
        ...
