"""What devices reach of what their manufacturers state, for the expected time of a step, with the sources."""

import dataclasses
from typing import Final


@dataclasses.dataclass(frozen=True)
class Shares:
    """What programs reach on a kind of device.

    Attributes:
      products: share of the peak FLOP/s in bfloat16 products.
      attention: share of it in cuDNN's attention.
      bandwidth: share of the stated bandwidth of memory.
      launch: seconds that a kernel takes at least.
      source: where these figures come from.
    """

    products: float
    attention: float
    bandwidth: float
    launch: float
    source: str


TF32: Final = 0.5  # FLOP/s in float32 products, factors rounded to TF32, over those in bfloat16
_H200: Final = "products measured on one H200, 704 TFLOP/s (docs/benchmark.md); the others assumed, not measured"
_ASSUMED: Final = "assumed as on an H200, not measured"

SHARES: Final = {
    "h100": Shares(0.71, 0.40, 0.90, 2.5e-6, _ASSUMED),
    "h200": Shares(0.71, 0.40, 0.90, 2.5e-6, _H200),
    "b200": Shares(0.71, 0.40, 0.90, 2.5e-6, _ASSUMED),
    "rtx4090": Shares(0.71, 0.40, 0.90, 2.5e-6, _ASSUMED),
    "l40s": Shares(0.71, 0.40, 0.90, 2.5e-6, _ASSUMED),
}
