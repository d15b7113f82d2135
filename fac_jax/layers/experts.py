"""The products of a mixture of experts: tokens sorted by expert, one grouped matrix product, none dropped."""

from typing import Protocol

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct


@struct.dataclass
class ExpertKernels:
    """Kernels of all SwiGLU experts.

    Attributes:
      gate: `[E, D, F]`.
      up: `[E, D, F]`.
      down: `[E, F, D]`.
    """

    gate: jax.Array
    up: jax.Array
    down: jax.Array


class Experts(Protocol):
    """Weighed sum of what the picked experts make of every token.

    `x` `[B, T, D]`, `picks` int32 `[B, T, k]`, `weights` float32 `[B, T, k]` -> `[B, T, D]` in the dtype of `x`.
    """

    def __call__(self, x: jax.Array, picks: jax.Array, weights: jax.Array, kernels: ExpertKernels) -> jax.Array: ...


def grouped_swiglu(rows: jax.Array, sizes: jax.Array, kernels: ExpertKernels) -> jax.Array:
    """`[R, D]` -> `[R, D]`: the first `sizes[0]` rows through expert 0, the next `sizes[1]` through expert 1, ..."""
    hidden = jax.nn.silu(jax.lax.ragged_dot(rows, kernels.gate, sizes)) * jax.lax.ragged_dot(rows, kernels.up, sizes)
    return jax.lax.ragged_dot(hidden, kernels.down, sizes)


def sorted_experts(x: jax.Array, picks: jax.Array, weights: jax.Array, kernels: ExpertKernels) -> jax.Array:
    """On one device: a copy of every token for each of its picks, in the order of the experts."""
    tokens, top_k = rearrange(x, "b t d -> (b t) d"), picks.shape[-1]
    order = jnp.argsort(picks.reshape(-1), stable=True)
    source = order // top_k
    sizes = jnp.bincount(picks.reshape(-1), length=kernels.gate.shape[0]).astype(jnp.int32)
    out = grouped_swiglu(tokens[source], sizes, kernels) * weights.reshape(-1)[order][:, None].astype(x.dtype)
    return jnp.zeros_like(tokens).at[source].add(out).reshape(x.shape)
