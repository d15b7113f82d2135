"""How the release cuts long audio, in samples and in tokens (codec.md sections 1.5 and 4)."""

from collections.abc import Iterator

import numpy as np


def pieces(whole: np.ndarray, size: int, short: int) -> Iterator[np.ndarray]:
    """Cuts `[N]` by `size`; where the last piece is below `short`, the last two are joined and split in the middle."""
    starts = list(range(0, len(whole), size))
    if len(starts) > 1 and len(whole) - starts[-1] < short:
        starts[-1] = starts[-2] + (len(whole) - starts[-2]) // 2
    for start, end in zip(starts, [*starts[1:], len(whole)], strict=True):
        yield whole[start:end]
