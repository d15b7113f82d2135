"""Kernels that do not train, in fewer bits, next to adapters that do (QLoRA, Dettmers et al., arXiv 2305.14314).

A kernel `[.., D, F]` is stored as its rows `[.., F, D]`, as a torch weight lies, so that the codes of nf4 are those of
bitsandbytes; `..` are stacked layers and experts. Every product widens it anew, in the backward pass as well, so that
a wide kernel exists for one product at a time, whether layers are computed again or not.
"""

from typing import Any, ClassVar, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Float, Int8, UInt8

from fac_jax.layers.four_bits import NORMAL
from fac_jax.layers.matrices import to_int8

BLOCK: Final = 64  # neighbouring values of the flattened rows that share their greatest magnitude
GROUP: Final = 256  # neighbouring blocks whose magnitudes share their greatest distance from the mean


def _dynamic_map() -> np.ndarray:
    """Makes the 256 numbers to which the magnitudes of blocks are rounded (Dettmers et al., arXiv 2110.02861).

    Each power of ten from 1e-6 to 1 is divided evenly, into twice as many parts as the one before; a number is the
    middle of a part. They have both signs; 0 and 1 are added.
    """
    edges = [np.linspace(0.1, 1, 2**power + 1) for power in range(7)]
    middles = np.concatenate([10.0 ** (power - 6) * (some[:-1] + some[1:]) / 2 for power, some in enumerate(edges)])
    return np.sort(np.concatenate([-middles, [0.0], middles, [1.0]])).astype(np.float32)


DYNAMIC: Final = _dynamic_map()


@struct.dataclass
class FrozenInt8:
    """Codes from -127 to 127; the scale of an output is the greatest magnitude of its weights over 127."""

    form: ClassVar[str] = "int8"

    codes: Int8[jax.Array, "*stack F D"]
    scale: Float[jax.Array, "*stack F"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape `[.., D, F]` of the kernel."""
        return (*self.codes.shape[:-2], *self.codes.shape[:-3:-1])

    def wide(self, dtype: Any) -> Float[jax.Array, "D F"]:
        """See `FrozenKernel`."""
        return (self.codes.astype(jnp.float32) * self.scale[:, None]).T.astype(dtype)

    def multiply(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims F"]:
        """See `FrozenKernel`."""
        return frozen_product(x, self)


@struct.dataclass
class Rounded:
    """Greatest magnitudes of blocks in eight bits: `mean + DYNAMIC[codes] * reach` (double quantisation).

    Attributes:
      codes: one for each block.
      reach: greatest distance from the mean in each group of blocks.
    """

    codes: UInt8[jax.Array, "*stack_blocks"]
    reach: Float[jax.Array, "*stack groups"]
    mean: Float[jax.Array, "*stack"]

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape of the magnitudes."""
        return self.codes.shape

    def wide(self) -> Float[jax.Array, "*blocks"]:
        """Returns the magnitudes in float32."""
        reach = jnp.repeat(self.reach, GROUP)[: self.codes.size].reshape(self.codes.shape)
        return self.mean + jnp.array(DYNAMIC)[self.codes] * reach


@struct.dataclass
class FrozenNormal:
    """Normal floats (nf4): the nearest of 16 quantiles, two in a byte with the first in the high half.

    Attributes:
      greatest: greatest magnitude of every block, `[.., F, D / 64]`, or `[.., F D / 64]` where 64 does not divide D and
        blocks reach from one row into the next; rounded or not.
    """

    form: ClassVar[str] = "nf4"

    codes: UInt8[jax.Array, "*stack F pairs"]
    greatest: Float[jax.Array, "*stack_blocks"] | Rounded

    @property
    def shape(self) -> tuple[int, ...]:
        """Returns the shape `[.., D, F]` of the kernel."""
        *stack, rows, pairs = self.codes.shape
        return (*stack, 2 * pairs, rows)

    def wide(self, dtype: Any) -> Float[jax.Array, "D F"]:
        """See `FrozenKernel`."""
        greatest = self.greatest.wide() if isinstance(self.greatest, Rounded) else self.greatest
        halves = jnp.stack([_quantiles(self.codes >> 4), _quantiles(self.codes & 15)], axis=-1)
        values = halves.reshape(*greatest.shape, BLOCK) * greatest[..., None]
        return values.reshape(len(self.codes), -1).T.astype(dtype)

    def multiply(self, x: Float[jax.Array, "*dims D"]) -> Float[jax.Array, "*dims F"]:
        """See `FrozenKernel`."""
        return frozen_product(x, self)


# A kernel that does not train, in place of the array of a `Linear` or of experts. `shape` is that of the array. Of one
# kernel, not a stack, `wide(dtype)` is the array, rounded once from float32, and `multiply(x)` the product with it.
FrozenKernel: TypeAlias = FrozenInt8 | FrozenNormal


def to_frozen_int8(kernel: Float[jax.Array, "D F"]) -> FrozenInt8:
    """Rounds every output of a kernel to 255 steps."""
    return FrozenInt8(*to_int8(kernel.T))


def to_normal(kernel: Float[jax.Array, "D F"], rounded: bool = True) -> FrozenNormal:
    """Brings a kernel to normal floats, with the codes of bitsandbytes; `normal_refusal` says which it can.

    Args:
      rounded: whether the magnitudes of blocks are rounded as well.
    """
    rows = kernel.T.astype(jnp.float32)
    blocks = rows.reshape(-1, BLOCK)
    greatest = jnp.max(jnp.abs(blocks), axis=1)
    scaled = blocks / jnp.where(greatest == 0, 1.0, greatest)[:, None]
    pairs = _nearest(scaled, np.array(NORMAL, np.float32)).reshape(len(rows), -1, 2)
    inside = rows.shape[1] % BLOCK == 0
    greatest = greatest.reshape(len(rows), -1) if inside else greatest
    return FrozenNormal(pairs[..., 0] << 4 | pairs[..., 1], _rounded(greatest) if rounded else greatest)


def normal_refusal(shape: tuple[int, ...]) -> str | None:
    """Returns why a kernel `[.., D, F]` cannot be brought to normal floats; None if it can."""
    *_, inward, outward = shape
    if inward % 2 or inward * outward % BLOCK:
        return f"a kernel of {inward} x {outward} is not made of blocks of {BLOCK} in rows of an even number"
    return None


def _rounded(greatest: Float[jax.Array, "*blocks"]) -> Rounded:
    mean = jnp.mean(greatest)
    around = (greatest - mean).reshape(-1)
    groups = jnp.pad(around, (0, -around.size % GROUP)).reshape(-1, GROUP)
    reach = jnp.max(jnp.abs(groups), axis=1)
    scaled = groups / jnp.where(reach == 0, 1.0, reach)[:, None]
    return Rounded(_nearest(scaled, DYNAMIC).reshape(-1)[: around.size].reshape(greatest.shape), reach, mean)


def _nearest(values: Float[jax.Array, "*dims"], levels: np.ndarray) -> UInt8[jax.Array, "*dims"]:
    """Returns the index of the nearest of some sorted numbers."""
    between = jnp.array((levels[1:] + levels[:-1]) / 2)
    return jnp.searchsorted(between, values, method="compare_all").astype(jnp.uint8)


def _quantiles(codes: UInt8[jax.Array, "*dims"]) -> Float[jax.Array, "*dims"]:
    """Looks up the quantiles of codes, bit by bit: a gather is slow on a TPU.

    Constants are only factors here, since a scan keeps constant arrays for its backward pass. The sums are exact: one
    term is zero.
    """
    odd = (codes & 1).astype(jnp.float32)
    found = [odd * second + (1 - odd) * first for first, second in zip(NORMAL[::2], NORMAL[1::2], strict=True)]
    for bit in (2, 4, 8):
        found = [jnp.where(codes & bit, second, first) for first, second in zip(found[::2], found[1::2], strict=True)]
    return found[0]


@jax.custom_vjp
def frozen_product(x: Float[jax.Array, "*dims D"], kernel: FrozenKernel) -> Float[jax.Array, "*dims F"]:
    """Multiplies vectors with a kernel, which gets no gradient and is kept for the backward pass as it is stored."""
    return jnp.matmul(x, kernel.wide(x.dtype))


def _forward(x: jax.Array, kernel: FrozenKernel) -> tuple[jax.Array, FrozenKernel]:
    return frozen_product(x, kernel), kernel


def _backward(kernel: FrozenKernel, grads: jax.Array) -> tuple[jax.Array, None]:
    # The barrier keeps the compiler from taking the wide kernel of the forward pass, which would have to be kept.
    kernel, grads = jax.lax.optimization_barrier((kernel, grads))
    return jnp.matmul(grads, kernel.wide(grads.dtype).T), None


frozen_product.defvjp(_forward, _backward)
