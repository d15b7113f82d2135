"""A stage of a run on its pages."""

import dataclasses
from collections.abc import Mapping

from fac_jax.evaluation.reports.pages.figures import Series


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of the run.

    Attributes:
      name: name of the stage, such as "speech to text".
      seconds: wall-clock time, compilation included.
      curves: name to (steps, values), such as {"text loss": ..}; empty for a stage without training.
    """

    name: str
    seconds: float
    curves: Mapping[str, Series] = dataclasses.field(default_factory=dict)
