"""The release's rule for cutting long audio, in samples or in tokens (docs/codec_model.md, sections 1.5 and 4)."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Shaped


def pieces(whole: Shaped[np.ndarray, " N"], size: int, short: int) -> Iterator[Shaped[np.ndarray, " _n"]]:
    """Cuts an array into pieces of `size`.

    If the last piece is shorter than `short`, the last two are joined and cut in the middle.

    Args:
      whole: samples or tokens.
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
