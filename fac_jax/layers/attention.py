"""Grouped-query attention with an injected `attend` function."""

from typing import Final, Literal, Protocol, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jax.ad_checkpoint import checkpoint_name

from fac_jax import axes
from fac_jax.layers.linear import Linear
from fac_jax.layers.norm import RMSNorm
from fac_jax.layers.residuals import ATTENTION, PROJECTIONS
from fac_jax.layers.rope import Rope, rotate
from fac_jax.types import KVCache


@struct.dataclass
class Visibility:
    """Who may see whom: a key is visible in its own segment, and, if causal, at its own or an earlier position.

    Attributes:
      q_segments: int32 `[B, T]`; 0 is padding.
      k_segments: int32 `[B, T']`; 0 is padding, which nobody sees.
      q_positions: int32 `[B, T]`, counted inside the segment.
      k_positions: int32 `[B, T']`.
      causal: whether later positions are hidden.
    """

    q_segments: jax.Array
    k_segments: jax.Array
    q_positions: jax.Array
    k_positions: jax.Array
    causal: bool = struct.field(pytree_node=False, default=True)

    def mask(self) -> jax.Array:
        """Dense bool `[B, T, T']`."""
        seen = (self.q_segments[:, :, None] == self.k_segments[:, None]) & (self.k_segments[:, None] > 0)
        if self.causal:
            seen &= self.k_positions[:, None] <= self.q_positions[:, :, None]
        return seen


def self_visibility(segments: jax.Array, positions: jax.Array, *, causal: bool) -> Visibility:
    """Visibility of a sequence on itself; both int32 `[B, T]`."""
    return Visibility(segments, segments, positions, positions, causal)


class Attend(Protocol):
    """Scaled dot-product attention of q `[B, T, N, H]` on k, v `[B, T', K, H]` -> `[B, T, N, H]`.

    The output is named `residuals.ATTENTION`, so that a policy of rematerialisation may keep it.
    """

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array: ...


def masked_softmax(scores: jax.Array, mask: jax.Array) -> jax.Array:
    """Float32 softmax over the last axis; hidden entries get 0, a row that sees nothing stays finite."""
    return jax.nn.softmax(jnp.where(mask, scores.astype(jnp.float32), -1e30), axis=-1)


def einsum_attend(q: jax.Array, k: jax.Array, v: jax.Array, visibility: Visibility) -> jax.Array:
    """The reference: one einsum for scores, one for values, scale H^-0.5, softmax in float32."""
    grouped = rearrange(q, "b t (k g) h -> b t k g h", k=k.shape[2])
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    weights = masked_softmax(scores, visibility.mask()[:, None, None]).astype(v.dtype)
    out = rearrange(jnp.einsum("bkgts,bskh->btkgh", weights, v), "b t k g h -> b t (k g) h")
    return checkpoint_name(out, ATTENTION)


CacheDims: TypeAlias = Literal["(b k) s h", "b k s h"]

# XLA's CPU backend copies a whole cache twice a step if it is carried apart and multiplied merged.
MERGED: Final[CacheDims] = "(b k) s h"
APART: Final[CacheDims] = "b k s h"


def _dims(cache: jax.Array) -> CacheDims:
    return MERGED if cache.ndim == 3 else APART


def update_cache(cache: KVCache, k: jax.Array, v: jax.Array, slot: jax.Array | int) -> KVCache:
    """Writes k, v `[B, T, K, H]` at cache slots `slot .. slot + T`."""

    def write(old: jax.Array, new: jax.Array) -> jax.Array:
        new = rearrange(new, f"b s k h -> {_dims(old)}").astype(old.dtype)
        written = jax.lax.dynamic_update_slice_in_dim(old, new, slot, axis=-2)
        names = (axes.BATCH, axes.KV_HEADS, None, None)
        return nn.with_logical_constraint(written, names) if _dims(old) == APART else written

    return KVCache(k=write(cache.k, k), v=write(cache.v, v))


def read_cache(cache: KVCache, batch: int) -> tuple[jax.Array, jax.Array]:
    """All k and v of a cache of `batch` samples, `[B, S, K, H]`."""
    k, v = (rearrange(a, f"{_dims(a)} -> b s k h", b=batch) for a in (cache.k, cache.v))
    return k, v


class DecoderAttention(nn.Module):
    """Qwen3 attention: no biases, RMSNorm of q and k over the head dim, rotary, output projection."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    attend: Attend = einsum_attend
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        table: Rope,
        visibility: Visibility,
        cache: KVCache | None = None,
        slot: jax.Array | int = 0,
    ) -> tuple[jax.Array, KVCache | None]:
        """`x` `[B, T, D] -> [B, T, D]`. With a cache, k and v enter it at `slot` and attention runs over all of it."""
        kinds = {"dtype": self.dtype, "param_dtype": self.param_dtype}

        def project(name: str, heads: int, axis: str) -> jax.Array:
            y = Linear(heads * self.head_dim, (axes.EMBED, axis), name=name, **kinds)(x)
            return rearrange(checkpoint_name(y, PROJECTIONS), "b t (n h) -> b t n h", n=heads)

        def norm(name: str) -> RMSNorm:
            return RMSNorm(self.norm_eps, axis=axes.HEAD_DIM, param_dtype=self.param_dtype, name=name)

        q = rotate(norm("q_norm")(project("q", self.num_heads, axes.HEADS)), table)
        k = rotate(norm("k_norm")(project("k", self.num_kv_heads, axes.KV_HEADS)), table)
        v = project("v", self.num_kv_heads, axes.KV_HEADS)
        if cache is not None:
            cache = update_cache(cache, k, v, slot)
            k, v = read_cache(cache, x.shape[0])
        out = rearrange(self.attend(q, k, v, visibility), "b t n h -> b t (n h)")
        return Linear(x.shape[-1], (axes.HEADS, axes.EMBED), name="o", **kinds)(out), cache


class EncoderAttention(nn.Module):
    """Whisper attention: biases on q, v and out, none on k, no rotary."""

    num_heads: int
    attend: Attend = einsum_attend
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, visibility: Visibility) -> jax.Array:
        """`[W, T, D] -> [W, T, D]`."""
        width = x.shape[-1]

        def project(name: str, use_bias: bool) -> jax.Array:
            linear = Linear(width, (axes.EMBED, axes.AUDIO_HEADS), use_bias, self.dtype, self.param_dtype, name=name)
            return rearrange(checkpoint_name(linear(x), PROJECTIONS), "b t (n h) -> b t n h", n=self.num_heads)

        out = self.attend(project("q", True), project("k", False), project("v", True), visibility)
        out = rearrange(out, "b t n h -> b t (n h)")
        return Linear(width, (axes.AUDIO_HEADS, axes.EMBED), True, self.dtype, self.param_dtype, name="o")(out)
