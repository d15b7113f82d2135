"""Rows of experts for the grouped product, and what `jax.lax.ragged_dot` makes of them."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.layers.moe import GroupedProduct

ROWS, WIDTHS = 640, (256, 128)
# By case: an expert without rows and rows of no expert; whole tiles; one expert; the last rows of a shard of no use.
SIZES = {
    "uneven": (70, 0, 150, 61, 9),
    "even": (128, 128, 128, 128, 128),
    "one expert": (0, 640, 0, 0, 0),
    "nearly none": (0, 0, 0, 0, 3),
}


def worst(ours: GroupedProduct, sizes: Sequence[int]) -> dict[str, float]:
    """The greatest differences of the results and their gradients from the reference, over its greatest value."""
    rng = np.random.default_rng(0)
    rows, kernels, cotangent = (
        jnp.asarray(rng.standard_normal(shape), jnp.bfloat16)
        for shape in ((ROWS, WIDTHS[0]), (len(sizes), *WIDTHS), (ROWS, WIDTHS[1]))
    )
    counts = jnp.asarray(sizes, jnp.int32)
    cotangent = jnp.where((jnp.arange(ROWS) < sum(sizes))[:, None], cotangent, 0)

    def all_of(product: GroupedProduct) -> list[np.ndarray]:
        made, back = jax.vjp(lambda rows, kernels: product(rows, kernels, counts), rows, kernels)
        return [np.asarray(each, np.float64) for each in (made, *back(cotangent))]

    pairs = zip(("results", "rows", "kernels"), all_of(ours), all_of(jax.lax.ragged_dot), strict=True)
    return {name: float(np.abs(a - b).max() / np.abs(b).max()) for name, a, b in pairs}
