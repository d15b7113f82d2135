"""Float32 products as a GPU computes them by default: factors rounded to 10 bits (TF32), unless the highest precision
is asked for.

`import tf32` before anything is traced changes every product of this process.
"""

import jax
import jax.extend.core
from jax import lax
from jax._src.lax.lax import ragged_dot_general_p  # jax.lax does not export it


def _rounded(x: jax.Array) -> jax.Array:
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=10) if x.dtype == "float32" else x


def _exact(precision: object) -> bool:
    each = precision if isinstance(precision, tuple) else (precision, precision)
    return all(one == lax.Precision.HIGHEST for one in each)


def _emulate(primitive: jax.extend.core.Primitive) -> None:
    bind = primitive.bind

    def rounding(left: jax.Array, right: jax.Array, *others: object, **params: object) -> object:
        factors = (left, right) if _exact(params.get("precision")) else (_rounded(left), _rounded(right))
        return bind(*factors, *others, **params)

    primitive.bind = rounding


for _primitive in (lax.dot_general_p, lax.conv_general_dilated_p, ragged_dot_general_p):
    _emulate(_primitive)
