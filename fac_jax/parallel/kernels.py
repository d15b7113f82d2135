"""The kernels that a device runs, as tables; on a mesh each runs under `shard_map`."""

import dataclasses
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp

from fac_jax import axes
from fac_jax.layers.attention import APART, CAUSAL, Attend, Limits, einsum_attend
from fac_jax.layers.four_bits import Int4Rows, NormalRows
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.matrices import Float8Rows, Int8Rows, LeftInt8Rows, LeftRows, Matrix, Rows
from fac_jax.layers.moe import GroupedProduct, SortedExperts
from fac_jax.parallel.attention import AutoAttend, ShardedAttend, stepwise_attend
from fac_jax.parallel.blocked import blocked_attend
from fac_jax.parallel.cudnn import (
    AMPERE,
    HOPPER,
    PackedAttend,
    cached_attend,
    cached_refusal,
    compute_capability,
    cudnn_attend,
    cudnn_refusal,
    devices_refusal,
)
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.splash import SplashAttend
from fac_jax.types import InputError

Attention: TypeAlias = Literal["auto", "einsum", "flash"]

# `einsum_attend` is the reference that all are tested against; `blocked_attend` is its form for XLA's CPU backend.
TRAINING: Final[Mapping[str, Attend]] = {"cpu": blocked_attend, "gpu": einsum_attend, "tpu": einsum_attend}
# Matrices of generation: as they are trained (None), or quantised.
Quantized: TypeAlias = Literal["int8", "fp8", "int4", "nf4"]
QUANTIZED: Final[tuple[Quantized, ...]] = get_args(Quantized)
_COMPACT: Final[Mapping[Quantized | None, type[Matrix]]] = {"fp8": Float8Rows, "int4": Int4Rows, "nf4": NormalRows}
_WIDE: Final[Mapping[Quantized | None, type[Matrix]]] = {None: Rows, "int8": Int8Rows, **_COMPACT}
MATRICES: Final[Mapping[str, Mapping[Quantized | None, type[Matrix]]]] = {
    "cpu": {None: LeftRows, "int8": LeftInt8Rows, **_COMPACT},
    "gpu": _WIDE,
    "tpu": _WIDE,
}
DECODING: Final[Mapping[str, Attend]] = {
    "cpu": stepwise_attend,
    "gpu": AutoAttend(cached_attend, einsum_attend, cached_refusal),
    "tpu": einsum_attend,
}


def training_kernels(
    layout: Layout | None = None, attention: Attention = "auto", segments: int | None = None
) -> Kernels:
    """Kernels for training on the devices of a layout, or on the default device.

    Where a window hides keys of a row, a GPU runs cuDNN's kernel with a mask, and a TPU einsum.

    Args:
      attention: "flash" is cuDNN's kernel on a GPU and Splash on a TPU, which never hold the scores of a row. "auto"
        is flash where there is such a kernel and it takes the shapes and the dtype, and einsum elsewhere. The
        encoder's windows of 100 frames use cuDNN where they can, and einsum on a TPU.
      segments: most conversations of a row. With it cuDNN computes nothing between conversations; without it
        (None) it takes a mask.

    Raises:
      InputError: attention is "flash" and the devices have no such kernel.
    """
    kernels, platform = _on(layout, TRAINING), _platform(layout)
    if attention == "flash" and _no_flash(platform):
        raise InputError(f'attention "flash": {_no_flash(platform)}; take "auto" or "einsum"')
    if attention == "einsum" or _no_flash(platform):
        return kernels
    if platform == "tpu":
        splash = SplashAttend(layout)
        attend = splash if attention == "flash" else AutoAttend(splash, kernels.attend, splash.refusal)
    else:
        masked = AutoAttend(cudnn_attend, TRAINING["gpu"], cudnn_refusal, masks=True)
        local = cudnn_attend if attention == "flash" else masked
        packed = PackedAttend(segments, devices_refusal(segments, layout))
        local = AutoAttend(packed, local, packed.refusal)
        attend = local if layout is None else ShardedAttend(layout, local)
        window = PackedAttend(1)
        window = AutoAttend(window, TRAINING["gpu"], window.refusal)
        kernels = dataclasses.replace(kernels, encoder_attend=_in_windows(layout, window))
    return dataclasses.replace(kernels, attend=attend)


def decoding_kernels(layout: Layout | None = None) -> Kernels:
    """Kernels for generation on the devices of a layout, or on the default device."""
    old = _platform(layout) == "gpu" and compute_capability(layout) < AMPERE
    return _on(layout, TRAINING if old else DECODING)


def matrix_form(layout: Layout | None, quantize: Quantized | None) -> type[Matrix]:
    """The form of matrices for generation on the devices of a layout, or on the default device.

    Raises:
      InputError: there is no such form.
    """
    if quantize not in (None, *QUANTIZED):
        raise InputError(f"quantize={quantize!r}: known are {', '.join(QUANTIZED)}")
    return MATRICES[_platform(layout)][quantize]


def attention_choice(
    attend: Attend,
    heads: tuple[int, int, int],
    dtype: str,
    length: int,
    layout: Layout | None = None,
    limits: Limits = CAUSAL,
) -> tuple[Attend, str | None]:
    """The kernel that runs for rows of a length, without what wraps it, and why it is no faster one; None if it is.

    `heads` are those of the queries and of the keys, and the head dim; `length` counts positions. The limits are those
    of what a position sees (`layers.attention.Visibility`).
    """
    parts = rows = 1
    if layout is not None:
        rows = layout.shards(axes.BATCH)  # a number that the mesh divides
        if isinstance(attend, ShardedAttend):  # a kernel sees the queries of a device and the keys of whole rows
            parts = layout.shards(axes.LENGTH)
    q = jax.ShapeDtypeStruct((rows, length // parts, heads[0], heads[2]), dtype)
    k = jax.ShapeDtypeStruct((rows, length, heads[1], heads[2]), dtype)
    reason, local = None, attend
    while isinstance(local, AutoAttend | ShardedAttend):
        if isinstance(local, AutoAttend):
            reason = local.refused(q, k, limits) or reason
            local = local.chosen(q, k, limits)
        else:
            local = local.local
    if isinstance(local, PackedAttend | SplashAttend):
        return local, None
    if local is cudnn_attend:
        return local, f"with a mask: {reason}"
    reason = reason or _no_flash(_platform(layout)) or 'attention is "einsum"'
    return local, f"not flash: {reason}"


def kernel_name(attend: Attend) -> str:
    """Name of an attention kernel, as in `training.flops.ATTENTION_AGAIN`."""
    return getattr(attend, "__name__", type(attend).__name__)


def grouped_product(layout: Layout | None) -> GroupedProduct:
    """The grouped product of experts on the devices of a layout, or on the default device."""
    if not _on_hopper(layout):
        return jax.lax.ragged_dot
    from fac_jax.parallel.grouped import hopper_product  # imports jax's kernels for half a second

    return hopper_product


def expanded_experts(layout: Layout | None, dtype: str, widths: tuple[int, int]) -> str | None:
    """Why XLA multiplies every row with every expert; None where it does not.

    `widths` are those of the model and of one expert.
    """
    if _platform(layout) != "gpu":
        return None
    if not _on_hopper(layout):
        return "the grouped product needs a GPU of compute capability 9"
    from fac_jax.parallel.grouped import grouped_refusal

    return grouped_refusal(jnp.dtype(dtype), (widths[0], widths[1] // (layout.shards(axes.MLP) if layout else 1)))


def _on_hopper(layout: Layout | None) -> bool:
    return _platform(layout) == "gpu" and int(compute_capability(layout)) == int(HOPPER)


def _no_flash(platform: str) -> str | None:
    return None if platform in ("gpu", "tpu") else f"it runs on a GPU or a TPU, not on a {platform}"


def _platform(layout: Layout | None) -> str:
    return jax.default_backend() if layout is None else layout.platform


def _on(layout: Layout | None, table: Mapping[str, Attend]) -> Kernels:
    local, product = table[_platform(layout)], grouped_product(layout)
    if layout is None:
        return Kernels(local, local, SortedExperts(product))
    return Kernels(
        attend=ShardedAttend(layout, local),
        encoder_attend=_in_windows(layout, local),
        experts=ShardedExperts(layout, product=product),
        cache=APART,
    )


def _in_windows(layout: Layout | None, local: Attend) -> Attend:
    if layout is None:
        return local
    return ShardedAttend(layout, local, (axes.WINDOWS, None, axes.AUDIO_HEADS), axes.AUDIO_HEADS)
