"""Rotary position embedding: half-split (docs/model.md, section 5) and of neighbouring pairs (the codec's flow)."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Float, Int

from fac_jax.types import Array


@struct.dataclass
class Rope:
    """Cosines and sines of the rotation, in float32."""

    cos: Float[jax.Array, "B T H/2"]
    sin: Float[jax.Array, "B T H/2"]


def rope(positions: Int[Array, "B T"], head_dim: int, theta: float) -> Rope:
    """Computes the rotation at every position: feature pair i turns by `position * theta^(-2 i / head_dim)`."""
    inverse = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angle = positions[..., None].astype(jnp.float32) * inverse
    return Rope(cos=jnp.cos(angle), sin=jnp.sin(angle))


def rotate(x: Float[jax.Array, "B T N H"], table: Rope) -> Float[jax.Array, "B T N H"]:
    """Rotates every head, feature i with feature i + H / 2; float32 inside, the dtype of `x` outside."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = table.cos[:, :, None], table.sin[:, :, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def rotate_pairs(x: Float[jax.Array, "B T H"], table: Rope) -> Float[jax.Array, "B T H"]:
    """Rotates feature 2i with feature 2i + 1; float32 inside, the dtype of `x` outside."""
    even, odd = x[..., 0::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
    turned = jnp.stack([even * table.cos - odd * table.sin, odd * table.cos + even * table.sin], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
