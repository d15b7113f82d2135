"""A short name of a set of parameters, equal only for equal values."""

import hashlib

import jax
import numpy as np

from fac_jax.types import Params


def params_digest(params: Params) -> str:
    """16 hexadecimal digits from the paths, dtypes, shapes and values of all parameters, read one by one."""
    digest = hashlib.blake2b(digest_size=8)
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        value = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {value.dtype} {value.shape}".encode())
        digest.update(np.ascontiguousarray(value).view(np.uint8).data)
    return digest.hexdigest()
