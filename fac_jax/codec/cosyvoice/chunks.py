"""The release's rule for cutting long audio, in samples or in tokens (docs/codec_model.md, sections 1.5 and 4)."""

from collections.abc import Iterator

import numpy as np


def pieces(whole: np.ndarray, size: int, short: int) -> Iterator[np.ndarray]:
    """Cuts an array into pieces of `size`.

    If the last piece is shorter than `short`, the last two are joined and cut in the middle.

    Args:
      whole: samples or tokens `[N]`.
      size: length of a piece.
      short: shortest length of a last piece.

    Yields:
      views of `whole`, in order.
    """
    starts = list(range(0, len(whole), size))
    if len(starts) > 1 and len(whole) - starts[-1] < short:
        starts[-1] = starts[-2] + (len(whole) - starts[-2]) // 2
    for start, end in zip(starts, [*starts[1:], len(whole)], strict=True):
        yield whole[start:end]
