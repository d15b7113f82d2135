"""Rematerialisation: which activations of a layer the backward pass finds stored, and which it computes again."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import flax.linen as nn
import jax

from fac_jax.layers.residuals import ATTENTION, LAYER_INPUT, MLP_INPUT, PROJECTIONS
from fac_jax.models.config import Remat

M = TypeVar("M", bound=type[nn.Module])

_NAMED: Final = (PROJECTIONS, ATTENTION, MLP_INPUT)

# In this order from the least memory to the most. "none" is no policy: everything is stored.
POLICIES: Final[Mapping[Remat, Callable[..., Any]]] = {
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=(),
        names_which_can_be_offloaded=(LAYER_INPUT, *_NAMED),
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
    "save_attention": jax.checkpoint_policies.save_only_these_names(*_NAMED),
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def rematerialised(layer: M, remat: Remat, *, scanned: bool) -> M:
    """The layer with a policy of rematerialisation; `scanned` says whether it is the body of a scan.

    A scan keeps the compiler from merging the forward pass with its recomputation, so no barrier is needed there.
    """
    return layer if remat == "none" else nn.remat(layer, policy=POLICIES[remat], prevent_cse=not scanned)
