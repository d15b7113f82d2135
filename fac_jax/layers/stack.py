"""Stacks of equal layers, scanned over their stacked parameters."""

from typing import Any, TypeVar

import flax.linen as nn

from fac_jax import axes

M = TypeVar("M", bound=nn.Module)


def stacked(layer: type[M], depth: int) -> type[M]:
    """Makes a module class that runs `depth` layers one after the other, with parameters stacked along axis 0.

    A layer takes the running state first and returns `(state, output)`; its other arguments are the same for every
    layer, and the outputs are stacked along axis 0.
    """
    same: Any = nn.broadcast
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        in_axes=same,
        length=depth,
        metadata_params={nn.PARTITION_NAME: axes.LAYERS},
    )
