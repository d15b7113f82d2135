"""The precision of float32 matrix products: the one place that sets it (docs/scaling.md, "Precision").

A CPU multiplies float32 numbers as they are. By default a GPU rounds both factors of a product to 10 bits (TF32), and a
TPU to 7 (bfloat16); sums are float32 everywhere. Products of bfloat16 numbers are the same at every precision.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal, TypeAlias

import jax

Precision: TypeAlias = Literal["default", "high", "highest"]  # names of jax.lax.Precision
EXACT: Final = "highest"  # float32 factors on every device


def products(precision: Precision) -> AbstractContextManager[None]:
    """Sets the precision of the products that are traced or run inside; "default" leaves what is set around it."""
    return nullcontext() if precision == "default" else jax.default_matmul_precision(precision)
