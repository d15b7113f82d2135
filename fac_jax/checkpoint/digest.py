"""A digest of parameters that does not depend on how they lie on devices and hosts."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.types import Params


def params_digest(params: Params) -> str:
    """Returns 16 hexadecimal digits that change when a parameter, its name, shape or dtype does."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    sums = jax.device_get(jax.jit(lambda tree: [_mixed(leaf) for leaf in jax.tree.leaves(tree)])(params))
    found = hashlib.sha256()
    for (path, leaf), number in zip(leaves, sums, strict=True):
        found.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype} {int(number)}\n".encode())
    return found.hexdigest()[:16]


def _mixed(leaf: jax.Array) -> jax.Array:
    """Sum of a leaf's bits, each times an odd number of its place, modulo 2^32: exact in any order."""
    unsigned = {1: np.uint8, 2: np.uint16, 4: np.uint32}[leaf.dtype.itemsize]
    bits = jax.lax.bitcast_convert_type(leaf, unsigned).astype(jnp.uint32)
    place = jnp.zeros(leaf.shape, jnp.uint32)
    for axis, size in enumerate(leaf.shape):
        place = place * jnp.uint32(size) + jax.lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    mixed = (place * jnp.uint32(2654435761)) ^ (place >> 7)
    return jnp.sum(bits * (mixed | jnp.uint32(1)), dtype=jnp.uint32)
