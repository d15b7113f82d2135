"""Rotary position embedding: half-split (model.md section 5) and of neighbouring pairs (codec.md section 2.4)."""

import jax
import jax.numpy as jnp
from flax import struct


@struct.dataclass
class Rope:
    """Cosines and sines of the rotation, float32 `[B, T, H / 2]`."""

    cos: jax.Array
    sin: jax.Array


def rope(positions: jax.Array, head_dim: int, theta: float) -> Rope:
    """Rotation tables of `positions` (int32 `[B, T]`)."""
    inverse = theta ** (-jnp.arange(0, head_dim, 2, dtype=jnp.float32) / head_dim)
    angle = positions[..., None].astype(jnp.float32) * inverse
    return Rope(cos=jnp.cos(angle), sin=jnp.sin(angle))


def rotate(x: jax.Array, table: Rope) -> jax.Array:
    """Rotates `x` `[B, T, N, H]`: feature i pairs with feature i + H / 2. Float32 inside, dtype of `x` outside."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    cos, sin = table.cos[:, :, None], table.sin[:, :, None]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)


def rotate_pairs(x: jax.Array, table: Rope) -> jax.Array:
    """Rotates `x` `[B, T, H]`: feature 2i pairs with feature 2i + 1. Float32 inside, dtype of `x` outside."""
    even, odd = x[..., 0::2].astype(jnp.float32), x[..., 1::2].astype(jnp.float32)
    turned = jnp.stack([even * table.cos - odd * table.sin, odd * table.cos + even * table.sin], axis=-1)
    return turned.reshape(x.shape).astype(x.dtype)
