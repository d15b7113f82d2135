"""Splash attention on TPUs: a flash kernel that skips what causality hides (jax.experimental.pallas.ops.tpu)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jax.sharding import NamedSharding, PartitionSpec

from fac_jax import axes
from fac_jax.layers.attention import Visibility
from fac_jax.layers.stack import ATTENTION
from fac_jax.parallel.attention import Operand, check, places_refusal
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.rules import spec_of
from fac_jax.types import Array, InputError

BLOCKS = (512, 256, 128)  # queries, or keys, of one block of the kernel: the largest that divides them
_QUERIES = (axes.BATCH, axes.LENGTH, axes.HEADS, None)
_KEYS = (axes.BATCH, None, axes.KV_HEADS, None)  # whole rows on every device


@dataclasses.dataclass(frozen=True)
class SplashAttend:
    """Attention of rows on themselves, forward and backward.

    Causality compares places in a row, which agrees with positions, since these only grow inside a segment. Padding
    sees padding, unlike in the reference, where it sees nothing; its outputs are never read.

    Attributes:
      layout: mesh; along `context` every device has the keys and values of whole rows. None for one chip.
      interpret: run the kernel's Python on any backend, for tests.
    """

    layout: Layout | None = None
    interpret: bool = False

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
        """See `layers.attention.Attend`.

        Raises:
          InputError: see `refusal` and `places_refusal`.
        """
        check(self.refusal(q, k) or places_refusal(visibility.limits, k.shape[1]))
        kernel = self._kernel(q, visibility.causal)
        scaled = q * q.shape[-1] ** -0.5
        segments = (visibility.q_segments, visibility.k_segments)
        if self.layout is None:
            return _rows(kernel, scaled, k, v, *segments)
        queries, keys = (spec_of(names, self.layout.rules) for names in (_QUERIES, _KEYS))
        heads = NamedSharding(self.layout.mesh, PartitionSpec(queries[2], queries[1]))
        return jax.shard_map(
            _rows,
            mesh=self.layout.mesh,
            in_specs=(
                kernel.manual_sharding_spec(heads),
                queries,
                keys,
                keys,
                PartitionSpec(*queries[:2]),
                PartitionSpec(*keys[:2]),
            ),
            out_specs=queries,
            check_vma=False,
        )(kernel, scaled, k, v, *segments)

    def refusal(self, q: Operand, k: Operand) -> str | None:
        """Says in one line why queries `[B, T, N, H]` and keys `[B, T', K, H]` do not fit; None if they do."""
        length = q.shape[1]
        if length != k.shape[1]:
            return f"splash attention is of a row on itself, not of {length} queries on {k.shape[1]} keys"
        parts = 1
        if self.layout is not None:
            parts = self.layout.shards(axes.LENGTH)
            for what, names, array in (("q", _QUERIES, q), ("k", _KEYS, k)):
                try:
                    self.layout.sharding(names, array.shape, f"splash attention, {what}")
                except InputError as error:
                    return str(error)
        if length % parts or not _block(length // parts):
            return (
                f"splash attention takes a multiple of {BLOCKS[-1]} positions on a device, not {length} / {parts}: "
                "change seq_len"
            )
        return None

    def _kernel(self, q: jax.Array, causal: bool) -> Any:
        length, heads = q.shape[1:3]
        parts, head_parts = 1, 1
        if self.layout is not None:
            parts, head_parts = self.layout.shards(axes.LENGTH), self.layout.shards(axes.HEADS)
        block_q, block_k = _block(length // parts), _block(length)
        one = splash.CausalMask((length, length), shard_count=parts) if causal else splash.FullMask((length, length))
        sizes = splash.BlockSizes(
            block_q=block_q,
            block_kv=block_k,
            block_q_dkv=block_q,
            block_kv_dkv=block_k,
            block_q_dq=block_q,
            block_kv_dq=block_k,
        )
        return splash.make_splash_mha(
            splash.MultiHeadMask([one] * heads),
            block_sizes=sizes,
            head_shards=head_parts,
            q_seq_shards=parts,
            residual_checkpoint_name=ATTENTION,
            interpret=self.interpret,
        )


def _block(length: int) -> int:
    """Largest block that divides a length; 0 if none does."""
    return next((block for block in BLOCKS if length % block == 0), 0)


def _rows(kernel: Any, q: jax.Array, k: jax.Array, v: jax.Array, q_segments: Array, k_segments: Array) -> jax.Array:
    """Attention of all rows of a device."""
    q, k, v = (rearrange(array, "b t n h -> b n t h") for array in (q, k, v))
    out = jax.vmap(kernel)(q, k, v, splash.SegmentIds(jnp.asarray(q_segments), jnp.asarray(k_segments)))
    return rearrange(out, "b n t h -> b t n h")
