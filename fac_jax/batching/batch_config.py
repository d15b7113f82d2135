"""What the batches of a stage are made of."""

import dataclasses
from collections.abc import Mapping

from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class BatchConfig:
    """Packed batches of a stage (docs/data_loading.md).

    Attributes:
      mixture: weight of every set of `data.sets`; a weight of 0 leaves the set out.
      batch_rows: B, rows of one update, over all hosts and micro-batches; pairs of rows for preferences.
      seq_len: S, LLM positions of a row.
      windows_per_row: encoder windows that a row has room for; None for what full rows of the mixture need.
      segments: most conversations of a row; None for any number, which preferences cannot have.
      temperature: of the mixture (`mixture_shares`); None lets only the weights decide.
      augment: whether the sets' changes of what users say (`waves`) act in this stage.
      feature_copies: copies of what users say whose encoder features are made once and stored, for a stage that does
        not train the encoder's convolutions and layers: the first as it is, the others changed by `waves`, each row by
        turns. None runs the encoder in every step, on changes that are drawn anew every epoch.
      cache: keeps encoded items in memory, those that are augmented excepted; for sets that fit there.
      workers: processes that make items; 0 makes them in this one.
      threads: that make items, in each process.
      buffer: items that each process makes ahead.
    """

    mixture: Mapping[str, float] = dataclasses.field(default_factory=dict)
    batch_rows: int = 8
    seq_len: int = 2048
    windows_per_row: int | None = None
    segments: int | None = None
    temperature: float | None = None
    augment: bool = True
    feature_copies: int | None = None
    cache: bool = False
    workers: int = 0
    threads: int = 1
    buffer: int = 16

    def __post_init__(self) -> None:
        for name in ("batch_rows", "seq_len", "windows_per_row", "segments", "feature_copies", "threads", "buffer"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it is at least 1")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}; it is at least 0")

    @property
    def sources(self) -> dict[str, float]:
        """Returns the weights that are not 0, by set."""
        return {name: weight for name, weight in self.mixture.items() if weight}


def check_divides(rows: int, parts: int, what: str) -> None:
    """Checks that the rows of a batch can be cut into equal parts.

    Args:
      rows: `BatchConfig.batch_rows`.
      parts: shards of a mesh times micro-batches.
      what: names the key of the rows: "stages.sft.data.batch_rows".

    Raises:
      InputError: they cannot; names the nearest numbers of rows that can.
    """
    if rows % parts:
        lower = rows // parts * parts
        near = f"{lower} or {lower + parts}" if lower else str(parts)
        raise InputError(f"{what} is {rows}, which {parts} equal parts do not divide; the nearest that do: {near}")
