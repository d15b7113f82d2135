"""Stacks of equal layers, scanned over their stacked parameters, and what a layer keeps for its backward pass."""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar

import flax.linen as nn
import jax
import jax.extend.core

from fac_jax import axes

L = TypeVar("L", bound=type[nn.Module])
Remat: TypeAlias = Literal["none", "dots", "save_attention", "full", "offload"]

# Names of the activations that a layer may keep.
LAYER_INPUT: Final = "layer_input"  # [B, T, D], the residual stream before the layer
PROJECTIONS: Final = "attention_projections"  # queries, keys and values as their matrix products give them
ATTENTION: Final = "attention_output"  # [B, T, N, H], before the output projection
MLP_INPUT: Final = "mlp_input"  # [B, T, D], the residual stream between attention and feed-forward
_NAMED: Final = (PROJECTIONS, ATTENTION, MLP_INPUT)
_both: Final = jax.checkpoint_policies.save_from_both_policies


def _is_flash(primitive: jax.extend.core.Primitive, *_: Any, **__: Any) -> bool:
    """Whether a primitive is the forward pass of cuDNN's attention, whose statistics have no name of their own."""
    return primitive.name.startswith("dot_product_attention_fwd")


# In this order from the least memory to the most. "none" is no policy: everything is stored.
POLICIES: Final[Mapping[Remat, Callable[..., Any]]] = {
    "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=(),
        names_which_can_be_offloaded=(LAYER_INPUT, *_NAMED),
        offload_src="device",
        offload_dst="pinned_host",
    ),
    "full": jax.checkpoint_policies.nothing_saveable,
    "save_attention": _both(jax.checkpoint_policies.save_only_these_names(*_NAMED), _is_flash),
    "dots": _both(
        _both(jax.checkpoint_policies.dots_with_no_batch_dims_saveable, _is_flash),
        jax.checkpoint_policies.save_only_these_names(ATTENTION),
    ),
}


def rematerialised(layer: L, remat: Remat, *, scanned: bool) -> L:
    """The layer with a policy of rematerialisation; `scanned` says whether it is the body of a scan.

    A scan keeps the compiler from merging the forward pass with its recomputation, so no barrier is needed there.
    """
    return layer if remat == "none" else nn.remat(layer, policy=POLICIES[remat], prevent_cse=not scanned)


def stacked(layer: L, depth: int, in_axes: Any = nn.broadcast, *, unroll: bool = False) -> L:
    """Makes a module class that runs `depth` layers one after the other, with parameters stacked along axis 0.

    A layer takes the running state first and returns `(state, output)`; its other arguments are the same for every
    layer unless `in_axes` says otherwise, and the outputs are stacked along axis 0. With `unroll` the layers are
    compiled one by one instead of as the body of a loop.
    """
    return nn.scan(
        layer,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True},
        in_axes=in_axes,
        length=depth,
        unroll=depth if unroll else 1,
        metadata_params={nn.PARTITION_NAME: axes.LAYERS},
    )
