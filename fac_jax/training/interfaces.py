"""What the loop needs of data and of a checkpoint store, which are implemented in packages of their own."""

from pathlib import Path
from typing import Any, Protocol

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.types import Batch, PreferenceBatch


class Loaded(Protocol):
    """A batch and facts about its rows."""

    @property
    def batch(self) -> Batch | PreferenceBatch:
        """Input of a step."""
        ...

    @property
    def row_ids(self) -> list[str]:
        """Ids of its rows in the data set."""
        ...

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio, of users and of replies."""
        ...

    @property
    def tokens(self) -> int:
        """LLM positions that are not padding."""
        ...

    @property
    def stats(self) -> BatchStats:
        """Statistics of its contents, for FLOPs."""
        ...


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

    def path(self, step: int) -> Path:
        """Folder of a checkpoint."""
        ...

    def save(self, step: int, params: Any, opt_state: Any, data_state: dict[str, Any], frozen: Any = None) -> None:
        """Writes a checkpoint of what trains, and once the frozen parameters; the arrays may be donated afterwards."""
        ...

    def restore(self, step: int, params: Any, opt_state: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Reads a checkpoint into the shapes and shardings of the given trainable parameters and optimizer state."""
        ...
