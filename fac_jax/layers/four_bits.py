"""Matrices of four bits a value, for models that would not fit otherwise (docs/generation.md, "Weights")."""

from typing import Final, Self

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct
from jaxtyping import Float, Int, UInt8

from fac_jax.layers.matrices import LeftRows
from fac_jax.types import Array

INTEGERS: Final = tuple(float(value) for value in range(-8, 8))
# Quantiles of a normal distribution between -1 and 1, with 0 among them (Dettmers et al., arXiv 2305.14314).
NORMAL: Final = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635),
    *(-0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725),
    *(0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)


@struct.dataclass
class FourBitRows:
    """Numbers of 16 levels, two in a byte with the first in the high half, and a scale for each block of a row.

    Every product widens the matrix anew, so that it saves memory and not time.

    Attributes:
      levels: the values that a code stands for, before the scale.
      block: values that share a scale; a width that it does not divide has blocks of their greatest common divisor.
    """

    codes: UInt8[jax.Array, "F pairs"]
    scale: Float[jax.Array, "F blocks"]
    levels: tuple[float, ...] = struct.field(pytree_node=False)

    def values(self, codes: UInt8[Array, "*dims pairs"], scale: Float[Array, "*dims blocks"]) -> jax.Array:
        """Widens rows to float32."""
        pairs = jnp.stack([codes >> 4, codes & 15], axis=-1)
        levels = jnp.array(self.levels, jnp.float32)[pairs.reshape(*scale.shape, -1)]
        return (levels * scale[..., None].astype(jnp.float32)).reshape(*codes.shape[:-1], -1)

    def multiply(self, x: Float[jax.Array, "*dims D"], dtype: str | None = None) -> Float[jax.Array, "*dims F"]:
        """See `Matrix`."""
        return LeftRows(self.values(self.codes, self.scale).astype(x.dtype)).multiply(x, dtype)

    def take(self, ids: Int[Array, "*dims"]) -> Float[jax.Array, "*dims D"]:
        """See `Matrix`."""
        return self.values(*(jnp.take(each, ids, axis=0, mode="clip") for each in (self.codes, self.scale)))


@struct.dataclass
class Int4Rows(FourBitRows):
    """Integers from -7 to 7; the scale is the greatest magnitude of 128 values over 7."""

    @classmethod
    def of(cls, values: Float[jax.Array, "F D"], dtype: str) -> Self:
        """See `Matrix`."""
        return cls(*_packed(values, INTEGERS, 128, 7.0), INTEGERS)


@struct.dataclass
class NormalRows(FourBitRows):
    """Normal floats (nf4); the scale is the greatest magnitude of 64 values."""

    @classmethod
    def of(cls, values: Float[jax.Array, "F D"], dtype: str) -> Self:
        """See `Matrix`."""
        return cls(*_packed(values, NORMAL, 64, 1.0), NORMAL)


def _packed(
    values: Float[jax.Array, "F D"], levels: tuple[float, ...], block: int, largest: float
) -> tuple[UInt8[jax.Array, "F pairs"], Float[jax.Array, "F blocks"]]:
    """Returns the nearest level of every value, two in a byte, and the scales of blocks in bfloat16."""
    size = int(np.gcd(values.shape[1], block))
    blocks = rearrange(values.astype(jnp.float32), "f (b s) -> f b s", s=size)
    greatest = jnp.max(jnp.abs(blocks), axis=-1, keepdims=True)
    scale = jnp.where(greatest == 0, 1.0, greatest / largest)
    between = (np.array(levels[1:]) + np.array(levels[:-1])) / 2
    codes = jnp.searchsorted(jnp.array(between, jnp.float32), blocks / scale).astype(jnp.uint8)
    pairs = codes.reshape(len(values), -1, 2)
    return pairs[..., 0] << 4 | pairs[..., 1], scale[..., 0].astype(jnp.bfloat16)
