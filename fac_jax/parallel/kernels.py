"""Which kernels a device runs, as tables; on a mesh each under `shard_map`."""

import dataclasses
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

import jax

from fac_jax import axes
from fac_jax.layers.attention import APART, Attend, einsum_attend
from fac_jax.layers.kernels import Kernels
from fac_jax.parallel.attention import ShardedAttend, cudnn_attend, mapped_attend, stepwise_attend
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.splash import SplashAttend
from fac_jax.types import InputError

Attention: TypeAlias = Literal["einsum", "flash"]

# `einsum_attend` is the reference that all are tested against; `mapped_attend` is its form for XLA's CPU backend.
TRAINING: Final[Mapping[str, Attend]] = {"cpu": mapped_attend, "gpu": einsum_attend, "tpu": einsum_attend}
DECODING: Final[Mapping[str, Attend]] = {"cpu": stepwise_attend, "gpu": einsum_attend, "tpu": einsum_attend}


def training_kernels(layout: Layout | None = None, attention: Attention = "einsum") -> Kernels:
    """For training on the devices of a layout, or on the default one.

    Args:
      layout: mesh.
      attention: of the Shared LLM and the refined head. "flash" is cuDNN's on a GPU, splash on a TPU, and never holds
        the scores of a row; the encoder's windows of 100 frames need neither.

    Raises:
      InputError: there is no flash attention for the devices.
    """
    kernels = _on(layout, TRAINING)
    if attention == "einsum":
        return kernels
    match _platform(layout):
        case "gpu":
            attend: Attend = cudnn_attend if layout is None else ShardedAttend(layout, cudnn_attend)
        case "tpu":
            attend = SplashAttend(layout)
        case platform:
            raise InputError(f'attention "flash" runs on a GPU or a TPU, not on a {platform}; take "einsum"')
    return dataclasses.replace(kernels, attend=attend)


def decoding_kernels(layout: Layout | None = None) -> Kernels:
    """For generation on the devices of a layout, or on the default one."""
    return _on(layout, DECODING)


def _platform(layout: Layout | None) -> str:
    return jax.default_backend() if layout is None else layout.platform


def _on(layout: Layout | None, table: Mapping[str, Attend]) -> Kernels:
    local = table[_platform(layout)]
    if layout is None:
        return Kernels(local, local)
    heads = (axes.WINDOWS, None, axes.AUDIO_HEADS)
    return Kernels(
        attend=ShardedAttend(layout, local),
        encoder_attend=ShardedAttend(layout, local, heads, axes.AUDIO_HEADS),
        experts=ShardedExperts(layout),
        cache=APART,
    )
