"""Whether another call is taken, by the time that ticks have taken."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from fac_jax.duplex.call import SLOT_SECONDS


@dataclasses.dataclass(frozen=True)
class Admission:
    """A rule on the last ticks. A place is computed whether it is free or not: what counts is what else the host does.

    Attributes:
      target_s: seconds that 99 of 100 ticks may take.
      late_s: seconds of a tick that misses its slot; two in a row and nobody is taken.
      ticks: number of the last ticks that are looked at, 20 s of them.
    """

    target_s: float = 0.15
    late_s: float = SLOT_SECONDS
    ticks: int = 100

    def admits(self, seconds: Sequence[float], calls: int) -> bool:
        """Returns whether another call is taken.

        Args:
          seconds: of the ticks so far, the last one last.
          calls: that run; the first one is always taken, as nothing is measured without any.
        """
        last = np.asarray(seconds[-self.ticks :], np.float64)
        if not calls or not len(last):
            return True
        late = last > self.late_s
        return not np.any(late[1:] & late[:-1]) and float(np.percentile(last, 99)) <= self.target_s
