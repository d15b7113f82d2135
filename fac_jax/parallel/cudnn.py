"""Flash attention of cuDNN on NVIDIA GPUs: of packed rows by the lengths of their conversations, or with a mask."""

import dataclasses
from typing import Any, Final

import jax
import jax.numpy as jnp
from jax._src.cudnn import fused_attention_stablehlo as fused  # jax.nn has no offsets
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Int

from fac_jax.layers.attention import Visibility
from fac_jax.layers.stack import ATTENTION
from fac_jax.parallel.attention import Operand, check
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Array

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
    """Returns the lengths of the conversations of every row, and the places where they begin and the last one ends.

    Conversations stand one behind the other, numbered from 1, and padding (0) is behind them. Numbers of conversations
    that a row does not have are -1, as cuDNN wants them. M is `most`, O is M + 1.
    """
    counts = jnp.sum(jnp.asarray(segments)[..., None] == jnp.arange(1, most + 1), axis=1, dtype=jnp.int32)
    ends = jnp.cumsum(counts, axis=1)
    begins = jnp.concatenate([jnp.zeros_like(ends[:, :1]), ends], axis=1)
    there = counts > 0
    marks = jnp.concatenate([jnp.ones_like(there[:, :1]), there], axis=1)
    return jnp.where(there, counts, -1), jnp.where(marks, begins, -1)


def real(segments: Int[Array, "B T"]) -> Bool[jax.Array, "B T 1 1"]:
    """Returns which positions are no padding."""
    return (jnp.asarray(segments) > 0)[..., None, None]


@jax.custom_vjp
def _without_gradient_of_padding(array: jax.Array, kept: jax.Array) -> jax.Array:
    return array


def _forward(array: jax.Array, kept: jax.Array) -> tuple[jax.Array, jax.Array]:
    return array, kept


def _backward(kept: jax.Array, grads: jax.Array) -> tuple[jax.Array, None]:
    return jnp.where(kept, grads, 0), None


_without_gradient_of_padding.defvjp(_forward, _backward)


@dataclasses.dataclass(frozen=True)
class PackedAttend:
    """Flash attention inside conversations, forward and backward: no mask is made, and nothing between them computed.

    Padding sees nothing, as in the reference, and its output is 0.

    Attributes:
      segments: most conversations of a row; a row with more would be wrong, so that batches must not have more.
      unable: why the devices cannot run it; None if they can.
    """

    segments: int | None
    unable: str | None = None

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
        """See `layers.attention.Attend`.

        Raises:
          InputError: see `refusal`.
        """
        check(self.refusal(q, k))
        assert self.segments is not None
        kept = real(visibility.q_segments)
        # The kernel neither reads nor writes padding: what is there, in outputs and in gradients, may be anything.
        q, k, v = (_without_gradient_of_padding(array, kept) for array in (q, k, v))
        lengths, offsets = conversation_lengths(visibility.q_segments, self.segments)
        how = {
            "scale": q.shape[-1] ** -0.5,
            "mask_type": fused.MaskType.PADDING_CAUSAL if visibility.causal else fused.MaskType.PADDING,
        }
        if self.segments == 1:
            lengths, offsets = jnp.maximum(lengths[:, 0], 0), None
        out: Any = fused.dot_product_attention(q, k, v, None, None, lengths, lengths, offsets, offsets, **how)
        return checkpoint_name(jnp.where(kept, out, 0), ATTENTION)

    def refusal(self, q: Operand, k: Operand) -> str | None:
        """Says in one line why queries `[B, T, N, H]` and keys `[B, T', K, H]` do not fit; None if they do."""
        if self.unable:
            return self.unable
        if q.shape[1] != k.shape[1]:
            return f"packed attention is of a row on itself, not of {q.shape[1]} queries on {k.shape[1]} keys"
        return cudnn_refusal(q, k)


def devices_refusal(segments: int | None, layout: Layout | None) -> str | None:
    """Says in one line why the devices of a layout, or the local ones, need a mask for rows; None if they do not."""
    if segments is None:
        return "the most conversations of a row are not known: set stages.NAME.data.segments"
    devices = jax.local_devices() if layout is None else layout.mesh.devices.flat
    capability = min(float(getattr(device, "compute_capability", 0)) for device in devices)
    if segments > 1 and capability < HOPPER:
        return f"packed rows need a GPU of compute capability {HOPPER}, not {capability}"
    if segments > 1 and jax.__version_info__ < PACKS:
        return f"packed rows need jax {'.'.join(map(str, PACKS))}, not {jax.__version__}"
    return None
