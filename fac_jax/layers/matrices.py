"""Matrices in the forms that generation reads, one row for each output (docs/generation.md, "Weights").

A trained kernel is `[D, F]`; here it is `[F, D]`, as a table of embeddings is, whose rows can also be looked up. The
form is an object in place of the array, so that a layer multiplies with it and does not ask what it is.
"""

import math
from typing import Any, ClassVar, Final, Protocol, Self

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, Int, Int8

from fac_jax.types import Array

TILE: Final = 4  # vectors that XLA's CPU backend multiplies with bytes at a time


class Matrix(Protocol):
    """A matrix `[F, D]` in some form."""

    @classmethod
    def of(cls, values: Float[jax.Array, "F D"], dtype: str) -> Self:
        """Brings values into the form; `dtype` is that of the activations that it will meet."""
        ...

    def multiply(self, x: Float[jax.Array, "*dims D"], dtype: str | None = None) -> Float[jax.Array, "*dims F"]:
        """Multiplies vectors with every row, accumulated in `dtype` (None: the dtype of `x`)."""
        ...

    def take(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """Looks rows up."""
        ...


@struct.dataclass
class Rows:
    """The values themselves."""

    values: Float[jax.Array, "F D"]

    @classmethod
    def of(cls, values: Float[jax.Array, "F D"], dtype: str) -> Self:
        """See `Matrix`."""
        return cls(values.astype(dtype))

    def multiply(self, x: Float[jax.Array, "*dims D"], dtype: str | None = None) -> Float[jax.Array, "*dims F"]:
        """See `Matrix`."""
        return _times_rows(x, self.values.astype(x.dtype), dtype)

    def take(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """See `Matrix`."""
        return jnp.take(self.values, ids, axis=0, mode="clip")


@struct.dataclass
class LeftRows(Rows):
    """The values as the left factor.

    XLA's CPU backend reads a left factor where it lies and repacks a right one at every call. The barrier keeps it from
    changing the order.
    """

    def multiply(self, x: Float[jax.Array, "*dims D"], dtype: str | None = None) -> Float[jax.Array, "*dims F"]:
        """See `Matrix`."""
        flat = x.reshape(-1, x.shape[-1])
        products = jax.lax.optimization_barrier(jnp.matmul(self.values, flat.T, preferred_element_type=dtype))
        return products.T.reshape(*x.shape[:-1], len(self.values))


@struct.dataclass
class ScaledRows:
    """Codes of one byte and a scale for each row: `values = codes * scale`.

    The codes are widened inside the product, and the scale follows it, so that no wide copy is written to memory.
    """

    codes: jax.Array
    scale: Float[jax.Array, " F"]

    def wide(self, dtype: Any) -> Float[jax.Array, "F D"]:
        """Returns the values, rounded once from float32 to `dtype`."""
        return (self.codes.astype(jnp.float32) * self.scale[:, None]).astype(dtype)

    def multiply(self, x: Float[jax.Array, "*dims D"], dtype: str | None = None) -> Float[jax.Array, "*dims F"]:
        """See `Matrix`."""
        products = _times_rows(x, self.codes.astype(x.dtype), "float32")
        return (products * self.scale).astype(dtype or x.dtype)

    def take(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """See `Matrix`."""
        rows, scale = (jnp.take(each, ids, axis=0, mode="clip") for each in (self.codes, self.scale))
        return rows.astype(jnp.float32) * scale[..., None]


@struct.dataclass
class Int8Rows(ScaledRows):
    """Codes from -127 to 127; the scale is the greatest magnitude of the row over 127."""

    form: ClassVar[str] = "int8"

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape `[F, D]`."""
        return self.codes.shape

    @classmethod
    def of(cls, values: Float[jax.Array, "F D"], dtype: str) -> Self:
        """See `Matrix`."""
        return cls(*to_int8(values))


@struct.dataclass
class LeftInt8Rows(Int8Rows):
    """The same as the left factor of an integer product: `x` is brought to eight bits too, with a scale a vector.

    XLA's CPU backend would write the widened matrix anew at every call. It has a fast product of bytes whose factors
    both lie along D. That works on `TILE` vectors at a time and is faster the longer they are, so that for fewer
    vectors neighbouring rows are read as one: `r` vectors in their place hold `x` in one r-th each, and zeros.
    """

    def multiply(self, x: Float[jax.Array, "*dims D"], dtype: str | None = None) -> Float[jax.Array, "*dims F"]:
        """See `Matrix`."""
        codes, scale = to_int8(x.reshape(-1, x.shape[-1]))
        r = math.gcd(len(self.codes), max(1, TILE // len(codes)))
        apart = jnp.eye(r, dtype=jnp.int8)[:, None, :, None] * codes[:, None]
        wide, vectors = self.codes.reshape(-1, r * x.shape[-1]), apart.reshape(-1, r * x.shape[-1])
        products = jax.lax.dot_general(wide, vectors, (((1,), (1,)), ((), ())), preferred_element_type=jnp.int32)
        products = jax.lax.optimization_barrier(products).reshape(-1, len(codes)).T.astype(jnp.float32)
        return (products * self.scale * scale[:, None]).astype(dtype or x.dtype).reshape(*x.shape[:-1], -1)


@struct.dataclass
class Float8Rows(ScaledRows):
    """Codes of eight bits with a point (e4m3); the scale is the greatest magnitude of the row over 448."""

    @classmethod
    def of(cls, values: Float[jax.Array, "F D"], dtype: str) -> Self:
        """See `Matrix`."""
        scale = _scale(values, float(jnp.finfo(jnp.float8_e4m3fn).max))
        return cls((values.astype(jnp.float32) / scale[:, None]).astype(jnp.float8_e4m3fn), scale)


def to_int8(values: Float[jax.Array, "F D"]) -> tuple[Int8[jax.Array, "F D"], Float[jax.Array, " F"]]:
    """Rounds every row to 255 steps; returns codes and the step of each row in float32."""
    scale = _scale(values, 127.0)
    return jnp.round(values.astype(jnp.float32) / scale[:, None]).astype(jnp.int8), scale


def _scale(values: Float[jax.Array, "F D"], largest: float) -> Float[jax.Array, " F"]:
    greatest = jnp.max(jnp.abs(values.astype(jnp.float32)), axis=1)
    return jnp.where(greatest == 0, 1.0, greatest / largest)


def _times_rows(x: jax.Array, rows: jax.Array, dtype: Any) -> jax.Array:
    contracted = (((x.ndim - 1,), (1,)), ((), ()))
    return jax.lax.dot_general(x, rows, contracted, preferred_element_type=dtype)
