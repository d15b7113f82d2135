"""Several adapters of one base, of which each row of a batch has its own, or none (docs/adapters.md).

The adapters of a kernel lie side by side as one of a larger rank: A is `[D, R]` and B `[R, F]`, with the ranks of all
of them in R. What differs between rows is which share of R they see. So rows with other adapters are computed together,
and a program that was compiled for a set of adapters never asks which of them a row has.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Int

from fac_jax.generation.prepared import apart
from fac_jax.layers.linear import LORA_SCALE
from fac_jax.layers.param import SEP
from fac_jax.models.lora import leaf_paths
from fac_jax.types import Array, InputError, Params

_SHARED: Final = re.compile(r"encoder/|.*/moe/")  # modules that are not computed row by row


def with_adapters(prepared: Params, adapters: Mapping[str, Params], dtype: str) -> Params:
    """Returns a prepared model with several adapters; nothing of the base is copied.

    Args:
      prepared: parameters of `prepared.prepare`, without an adapter.
      adapters: leaves of each by its name, as they were trained (`models.lora`); their modules and ranks may differ.
      dtype: in which A and B are kept, that of the model.

    Returns:
      parameters for `of_rows`, in which scales are `[1 + adapters, R]`: row 0 is the base.

    Raises:
      InputError: an adapter changes the audio encoder, whose output rows share, or experts.
    """
    leaves = [_checked(name, traverse_util.flatten_dict(apart(one), sep=SEP)) for name, one in adapters.items()]
    # The path of a scale says the module, whose kernel has another name in a prepared model.
    modules = [path.removesuffix(SEP + LORA_SCALE) for each in leaves for path in each if path.endswith(LORA_SCALE)]
    out: dict[str, Any] = traverse_util.flatten_dict(prepared, sep=SEP)
    for module in dict.fromkeys(modules):
        paths = leaf_paths(module)
        having = [number for number, each in enumerate(leaves) if paths[0] in each]
        found = [[np.asarray(leaves[number][path]) for path in paths] for number in having]
        ranks = [a.shape[-1] for a, _, _ in found]
        scale = np.zeros((1 + len(adapters), sum(ranks)), np.float32)
        for number, (_, _, own), rank, end in zip(having, found, ranks, np.cumsum(ranks), strict=True):
            scale[1 + number, end - rank : end] = own
        a, b = np.concatenate([a for a, _, _ in found], -1), np.concatenate([b for _, b, _ in found], -2)
        out |= dict(zip(paths, (jnp.asarray(a, dtype), jnp.asarray(b, dtype), jnp.asarray(scale)), strict=True))
    return traverse_util.unflatten_dict(out, sep=SEP)


def _checked(name: str, leaves: dict[str, Any]) -> dict[str, Any]:
    """Returns the leaves of an adapter that rows can have beside others."""
    if other := next((path for path in leaves if _SHARED.match(path)), None):
        told = "beside other adapters it can only be one of the Shared LLM, the refined head and the speech embedder"
        raise InputError(f"adapter {name} changes {other.rpartition(SEP)[0]}: {told}")
    return leaves


def of_rows(params: Params, adapter: Int[Array, " B"]) -> Params:
    """Returns the parameters for a batch whose rows have these adapters: 0 for none, 1 for the first, ..

    Parameters without several adapters come back as they are.
    """

    def chosen(path: tuple[Any, ...], leaf: jax.Array) -> jax.Array:
        several = getattr(path[-1], "key", None) == LORA_SCALE and leaf.ndim == 2
        return leaf[adapter] if several else leaf

    return jax.tree_util.tree_map_with_path(chosen, params)
