"""The products of a mixture of experts: tokens sorted by expert, one grouped matrix product, none dropped.

Shapes: R tokens in a row, k picks of a token, F hidden width of an expert.
"""

from typing import Protocol

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Float, Int


@struct.dataclass
class ExpertKernels:
    """Kernels of all SwiGLU experts."""

    gate: Float[jax.Array, "E D F"]
    up: Float[jax.Array, "E D F"]
    down: Float[jax.Array, "E F D"]


class Experts(Protocol):
    """Computes, for every token, the weighted sum of the outputs of the experts it is sent to.

    The weights are float32, the result has the dtype of `x`.
    """

    def __call__(
        self,
        x: Float[jax.Array, "B T D"],
        picks: Int[jax.Array, "B T k"],
        weights: Float[jax.Array, "B T k"],
        kernels: ExpertKernels,
    ) -> Float[jax.Array, "B T D"]: ...


def grouped_swiglu(
    rows: Float[jax.Array, "R D"], sizes: Int[jax.Array, " E"], kernels: ExpertKernels
) -> Float[jax.Array, "R D"]:
    """Sends the first `sizes[0]` rows through expert 0, the next `sizes[1]` through expert 1, and so on."""
    hidden = jax.nn.silu(jax.lax.ragged_dot(rows, kernels.gate, sizes)) * jax.lax.ragged_dot(rows, kernels.up, sizes)
    return jax.lax.ragged_dot(hidden, kernels.down, sizes)


def sorted_experts(
    x: Float[jax.Array, "B T D"],
    picks: Int[jax.Array, "B T k"],
    weights: Float[jax.Array, "B T k"],
    kernels: ExpertKernels,
) -> Float[jax.Array, "B T D"]:
    """Runs all experts on one device: a copy of every token for each of its picks, in the order of the experts."""
    tokens, top_k = rearrange(x, "b t d -> (b t) d"), picks.shape[-1]
    order = jnp.argsort(picks.reshape(-1), stable=True)
    source = order // top_k
    sizes = jnp.bincount(picks.reshape(-1), length=kernels.gate.shape[0]).astype(jnp.int32)
    out = grouped_swiglu(tokens[source], sizes, kernels) * weights.reshape(-1)[order][:, None].astype(x.dtype)
    return jnp.zeros_like(tokens).at[source].add(out).reshape(x.shape)
