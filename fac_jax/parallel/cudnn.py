"""Flash attention of cuDNN on NVIDIA GPUs: of packed rows by the lengths of their conversations, or with a mask."""

import dataclasses
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax._src.cudnn import fused_attention_stablehlo as fused  # jax.nn has no offsets
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Int

from fac_jax.layers.attention import Visibility
from fac_jax.layers.stack import ATTENTION
from fac_jax.parallel.attention import Operand, check, places_refusal
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Array

AMPERE: Final = 8.0  # least compute capability that cuDNN's flash attention takes
HOPPER: Final = 9.0  # least compute capability that takes packed rows
# Before it, the offsets of keys were counted with the heads of the queries: wrong under grouped queries
# (jax-ml/jax, pull request 39521).
PACKS: Final = (0, 11, 2)
TILE: Final = 128  # queries, or keys, that the kernel multiplies at a time


def cudnn_refusal(q: Operand, k: Operand) -> str | None:
    """Says in one line why cuDNN cannot train with queries `[B, T, N, H]` and keys `[B, T', K, H]`; None if it can."""
    if q.dtype not in (jnp.bfloat16, jnp.float16):
        return f"cuDNN attention takes bfloat16, not {q.dtype}: set model.dtype"
    if q.shape[-1] > 128 or q.shape[-1] % 8:
        return f"cuDNN attention takes head dims to 128 that 8 divides, not {q.shape[-1]}"
    if q.shape[1] % 2 or k.shape[1] % 2:
        return f"cuDNN attention takes an even number of positions, not {q.shape[1]} on {k.shape[1]}"
    return None


def cudnn_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """Flash attention with a mask, which is as large as the scores; nothing that it hides is left out.

    Raises:
      InputError: see `cudnn_refusal`.
    """
    check(cudnn_refusal(q, k))
    mask = visibility.mask()[:, None]
    return checkpoint_name(jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn"), ATTENTION)


def conversation_lengths(segments: Int[Array, "B T"], most: int) -> tuple[Int[jax.Array, "B M"], Int[jax.Array, "B O"]]:
    """Returns the lengths of the conversations of every row, and the places where they begin.

    Conversations stand one behind the other, numbered from 1. The padding (0) behind them counts as one more, so that
    the kernel computes every position: what it leaves out may hold anything. M is `most` + 1, O is M + 1. Numbers that
    a row does not have are -1, and so is the last place, as jax wants them.
    """
    segments = jnp.asarray(segments)
    numbers = jnp.where(segments > 0, segments, jnp.max(segments, axis=1, keepdims=True) + 1)
    counts = jnp.sum(numbers[..., None] == jnp.arange(1, most + 2), axis=1, dtype=jnp.int32)
    begins = jnp.where(counts > 0, jnp.cumsum(counts, axis=1) - counts, -1)
    return jnp.where(counts > 0, counts, -1), jnp.pad(begins, ((0, 0), (0, 1)), constant_values=-1)


@dataclasses.dataclass(frozen=True)
class PackedAttend:
    """Flash attention inside conversations, forward and backward: no mask is made, and nothing between them computed.

    Outputs of padding are finite and mean nothing.

    Attributes:
      segments: most conversations of a row; a row with more would be wrong, so that batches must not have more.
      unable: why the devices cannot run it; None if they can.
    """

    segments: int | None
    unable: str | None = None

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
        """See `layers.attention.Attend`.

        Raises:
          InputError: see `refusal` and `places_refusal`.
        """
        check(self.refusal(q, k) or places_refusal(visibility.limits, k.shape[1]))
        assert self.segments is not None
        segments, causal = jnp.asarray(visibility.q_segments), visibility.causal
        lengths = offsets = keys = None
        if self.segments > 1:
            kind = fused.MaskType.PADDING_CAUSAL if causal else fused.MaskType.PADDING
            lengths, offsets = conversation_lengths(segments, self.segments)
            keys = lengths
        elif causal:  # padding is behind all that a conversation sees
            kind = fused.MaskType.CAUSAL
        else:
            kind = fused.MaskType.PADDING
            lengths = jnp.full(segments.shape[:1], segments.shape[1], jnp.int32)
            keys = jnp.maximum(jnp.sum(segments > 0, axis=1, dtype=jnp.int32), 1)
        out: Any = fused.dot_product_attention(
            q, k, v, None, None, lengths, keys, offsets, offsets, scale=q.shape[-1] ** -0.5, mask_type=kind
        )
        return checkpoint_name(out, ATTENTION)

    def refusal(self, q: Operand, k: Operand) -> str | None:
        """Says in one line why queries `[B, T, N, H]` and keys `[B, T', K, H]` do not fit; None if they do."""
        if self.unable:
            return self.unable
        if q.shape[1] != k.shape[1]:
            return f"packed attention is of a row on itself, not of {q.shape[1]} queries on {k.shape[1]} keys"
        return cudnn_refusal(q, k)


def cached_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """Flash attention of one new position a row on a cache, of which only the places before it are read.

    The cache is read as it lies, `[B, K, S, H]`.

    Raises:
      InputError: see `cached_refusal` and `places_refusal`.
    """
    check(cached_refusal(q, k) or places_refusal(visibility.limits, k.shape[1]))
    lengths = jnp.minimum(jnp.asarray(visibility.q_positions, jnp.int32)[:, 0] + 1, k.shape[1])
    out: Any = fused.dot_product_attention(
        jnp.swapaxes(q, 1, 2),
        jnp.swapaxes(k, 1, 2),
        jnp.swapaxes(v, 1, 2),
        None,
        None,
        jnp.ones_like(lengths),
        lengths,
        scale=q.shape[-1] ** -0.5,
        mask_type=fused.MaskType.PADDING,
        qkv_layout="BNTH",
    )
    return jnp.swapaxes(out, 1, 2)


def cached_refusal(q: Operand, k: Operand) -> str | None:
    """Says why cuDNN cannot attend from queries `[B, T, N, H]` to a cache `[B, S, K, H]`; None if it can."""
    if q.shape[1] != 1:
        return f"attention on a cache is of one new position, not of {q.shape[1]}"
    return cudnn_refusal(jax.ShapeDtypeStruct((q.shape[0], 2, *q.shape[2:]), q.dtype), k)


def devices_refusal(segments: int | None, layout: Layout | None) -> str | None:
    """Says in one line why the devices of a layout, or the local ones, need a mask for rows; None if they do not."""
    if segments is None:
        return "the most conversations of a row are not known: set stages.NAME.data.segments"
    capability = compute_capability(layout)
    if segments > 1 and capability < HOPPER:
        return f"packed rows need a GPU of compute capability {HOPPER}, not {capability}"
    if segments > 1 and jax.__version_info__ < PACKS:
        return f"packed rows need jax {'.'.join(map(str, PACKS))}, not {jax.__version__}"
    return None


def compute_capability(layout: Layout | None) -> float:
    """The least compute capability of the GPUs of a layout, or of the local ones; 0 for other devices."""
    devices = jax.local_devices() if layout is None else layout.mesh.devices.flat
    return min(float(getattr(device, "compute_capability", 0)) for device in devices)
