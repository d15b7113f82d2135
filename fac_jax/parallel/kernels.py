"""Which kernels a device runs, as tables; on a mesh each under `shard_map`."""

from collections.abc import Mapping
from typing import Final

import jax

from fac_jax import axes
from fac_jax.layers.kernels import Kernels
from fac_jax.parallel.attention import ShardedAttend, mapped_attend, stepwise_attend
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.mesh import Layout

# `einsum_attend` is the reference that all are tested against.
TRAINING: Final[Mapping[str, Kernels]] = {
    "cpu": Kernels(mapped_attend, mapped_attend),
    "gpu": Kernels(),
    "tpu": Kernels(),
}
DECODING: Final[Mapping[str, Kernels]] = {
    "cpu": Kernels(stepwise_attend, stepwise_attend),
    "gpu": Kernels(),
    "tpu": Kernels(),
}


def training_kernels(layout: Layout | None = None) -> Kernels:
    """For training on the devices of a layout, or on the default one."""
    return _on(layout, TRAINING)


def decoding_kernels(layout: Layout | None = None) -> Kernels:
    """For generation on the devices of a layout, or on the default one."""
    return _on(layout, DECODING)


def _on(layout: Layout | None, table: Mapping[str, Kernels]) -> Kernels:
    if layout is None:
        return table[jax.default_backend()]
    local = table[layout.platform]
    heads = (axes.WINDOWS, None, axes.AUDIO_HEADS)
    return Kernels(
        attend=ShardedAttend(layout, local.attend),
        encoder_attend=ShardedAttend(layout, local.encoder_attend, heads, axes.AUDIO_HEADS),
        experts=ShardedExperts(layout),
    )
