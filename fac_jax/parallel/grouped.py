"""The grouped product of experts on Hopper GPUs, by kernels of jax, forward and backward.

XLA has no grouped product for GPUs: it multiplies every row with every expert. The kernels use instructions that only
Hopper has.
"""

from typing import Final

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.gpu.ragged_dot_mgpu import ragged_dot
from jax.experimental.pallas.ops.gpu.transposed_ragged_dot_mgpu import transposed_ragged_dot
from jax.typing import DTypeLike
from jaxtyping import Float, Int

ROWS: Final = 16_384  # of a product; what lies behind the rows of the last expert is no work
TILE: Final = 128  # rows, and columns, of the results that are computed together
DEPTH: Final = 64  # numbers of a sum that are loaded together
STEPS: Final = 4  # loads on their way


def grouped_refusal(dtype: DTypeLike, widths: tuple[int, int]) -> str | None:
    """Says in one line why the kernels do not take a dtype, or widths of rows and of results; None if they do."""
    if dtype not in (jnp.bfloat16, jnp.float16):
        return f"the grouped product takes bfloat16, not {dtype}: set model.dtype"
    if any(width % TILE for width in widths):
        return f"the grouped product takes widths that {TILE} divides, not {widths[0]} and {widths[1]}"
    return None


def hopper_product(
    rows: Float[jax.Array, "R D"], kernels: Float[jax.Array, "E D F"], sizes: Int[jax.Array, " E"]
) -> Float[jax.Array, "R F"]:
    """Multiplies as `jax.lax.ragged_dot` does, which takes over where widths or dtype do not fit.

    Sums are float32. Rows behind those of the last expert give 0 and must be finite.
    """
    _, *widths = kernels.shape
    if grouped_refusal(rows.dtype, (widths[0], widths[1])):
        return jax.lax.ragged_dot(rows, kernels, sizes)
    return _grouped(rows, kernels, sizes)


@jax.custom_vjp
def _grouped(rows: jax.Array, kernels: jax.Array, sizes: jax.Array) -> jax.Array:
    return _multiplied(rows, kernels, sizes, turned=False)


def _forward(
    rows: jax.Array, kernels: jax.Array, sizes: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    return _grouped(rows, kernels, sizes), (rows, kernels, sizes)


def _backward(saved: tuple[jax.Array, jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    rows, kernels, sizes = saved
    inwards = transposed_ragged_dot(
        rows,
        grads,
        group_sizes=sizes,
        block_m=TILE,
        block_n=TILE,
        block_k=DEPTH,
        max_concurrent_steps=STEPS,
        grid_block_n=kernels.shape[2] // TILE,
    )
    return _multiplied(grads, kernels, sizes, turned=True), inwards, None


_grouped.defvjp(_forward, _backward)


def _multiplied(rows: jax.Array, kernels: jax.Array, sizes: jax.Array, turned: bool) -> jax.Array:
    """Multiplies rows with the kernels of their experts, or with these turned, `ROWS` at a time until none is left.

    The kernel computes every row that it is given, also those of no expert, whose results it does not write.
    """
    width = kernels.shape[1 if turned else 2]
    count = min(ROWS, len(rows))
    ends = jnp.cumsum(sizes)

    def some(number: jax.Array, out: jax.Array) -> jax.Array:
        start = jnp.minimum(number * count, len(rows) - count)  # the last rows may be computed twice
        within = jnp.clip(ends - start, 0, count)
        made = ragged_dot(
            jax.lax.dynamic_slice_in_dim(rows, start, count),
            kernels,
            group_sizes=jnp.diff(within, prepend=0),
            block_m=TILE,
            block_n=TILE,
            block_k=DEPTH,
            max_concurrent_steps=STEPS,
            grid_block_n=width // TILE,
            transpose_rhs=turned,
        )
        made = jnp.where((jnp.arange(count) < within[-1])[:, None], made, 0)
        return jax.lax.dynamic_update_slice_in_dim(out, made, start, axis=0)

    return jax.lax.fori_loop(0, -(-ends[-1] // count), some, jnp.zeros((len(rows), width), rows.dtype))
