"""What the loop asks of data and of a checkpoint store, which live in rooms of their own."""

from pathlib import Path
from typing import Any, Protocol

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.types import Batch, PreferenceBatch


class Loaded(Protocol):
    """A batch and what it was made of."""

    @property
    def batch(self) -> Batch | PreferenceBatch:
        """What a step takes."""
        ...

    @property
    def row_ids(self) -> list[str]:
        """Rows of the data set that are in it."""
        ...

    @property
    def audio_seconds(self) -> float:
        """Seconds of audio in it, heard and spoken."""
        ...

    @property
    def tokens(self) -> int:
        """LLM positions in it that are not padding."""
        ...

    @property
    def stats(self) -> BatchStats:
        """What its contents need."""
        ...


class Data(Protocol):
    """Endless batches."""

    def __next__(self) -> Loaded:
        """The next batch."""
        ...

    def get_state(self) -> dict[str, Any]:
        """JSON-able; says which batch comes next."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes to where `get_state` was called."""
        ...

    def close(self) -> None:
        """Ends the threads and processes that make batches."""
        ...


class Store(Protocol):
    """Checkpoints of one stage, by the number of updates made."""

    def latest(self) -> int | None:
        """The newest whole one."""
        ...

    def path(self, step: int) -> Path:
        """Its folder."""
        ...

    def save(self, step: int, params: Any, opt_state: Any, data_state: dict[str, Any]) -> None:
        """Writes one; the arrays may be donated as soon as this returns."""
        ...

    def restore(self, step: int, params: Any, opt_state: Any) -> tuple[Any, Any, dict[str, Any]]:
        """Reads one into the shapes and shardings of the trees given."""
        ...
