"""Grouped-query attention with an injected `attend` function.

Shapes: T query positions, S key positions.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, Literal, NamedTuple, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from flax.linen.spmd import with_logical_constraint
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.layers.linear import Linear, fan_out
from fac_jax.layers.norm import RMSNorm
from fac_jax.layers.param import Typed
from fac_jax.layers.rope import Rope, rotate
from fac_jax.layers.stack import ATTENTION, PROJECTIONS
from fac_jax.types import Array, KVCache

HIDDEN: Final = -1e30  # score of a key that a query does not see; finite, so that a row of them has no NaN


class Limits(NamedTuple):
    """What positions tell about which key a query sees; the fields are those of `Visibility`."""

    causal: bool = True
    sinks: int = 0
    window: int = 0
    block: int = 1

    def narrow(self, seen: Bool[Array, "*dims"], q: Int[Array, "..."], k: Int[Array, "..."]) -> Bool[Array, "*dims"]:
        """Hides of `seen` what the limits hide between positions of queries and of keys, which broadcast to it."""
        if self.causal:
            seen = seen & ((k <= q) if self.block == 1 else (k // self.block <= q // self.block))
        if self.window:
            seen = seen & ((k < self.sinks) | (q - k < self.window))
        return seen

    def by_place(self, keys: int) -> bool:
        """Returns whether places in rows of `keys` keys tell the same, as kernels assume that do not read positions.

        Positions that are no sinks follow each other, so that a window that is as long as the row hides nothing.
        """
        return self.block == 1 and not 0 < self.window < keys


CAUSAL: Final = Limits()


@struct.dataclass
class Visibility:
    """Which key each query sees: keys of its own segment and, if causal, only those at its own or earlier positions.

    A causal query may also see blocks whole, and of the past only a window, besides the first positions ("sinks").

    Attributes:
      q_segments: segment of every query; 0 is padding.
      k_segments: segment of every key; 0 is padding, which no query sees.
      q_positions: position of every query inside its segment.
      k_positions: position of every key inside its segment.
      causal: whether later positions are hidden.
      sinks: number of first positions that every later one sees, however far away they are.
      window: number of last positions that a query sees, its own included; 0 for all.
      block: positions of a block; a query sees all keys of its own block and of earlier ones.
    """

    q_segments: Int[Array, "B T"]
    k_segments: Int[Array, "B S"]
    q_positions: Int[Array, "B T"]
    k_positions: Int[Array, "B S"]
    causal: bool = struct.field(pytree_node=False, default=True)
    sinks: int = struct.field(pytree_node=False, default=0)
    window: int = struct.field(pytree_node=False, default=0)
    block: int = struct.field(pytree_node=False, default=1)

    @property
    def limits(self) -> Limits:
        """Returns what is the same for all rows."""
        return Limits(self.causal, self.sinks, self.window, self.block)

    def mask(self) -> Bool[Array, "B T S"]:
        """Dense form of the visibility: True where the query sees the key."""
        seen = (self.q_segments[:, :, None] == self.k_segments[:, None]) & (self.k_segments[:, None] > 0)
        return self.limits.narrow(seen, self.q_positions[:, :, None], self.k_positions[:, None])


def self_visibility(
    segments: Int[Array, "B T"],
    positions: Int[Array, "B T"],
    *,
    causal: bool,
    sinks: int = 0,
    window: int = 0,
    block: int = 1,
) -> Visibility:
    """Visibility of a sequence on itself."""
    return Visibility(segments, segments, positions, positions, causal, sinks, window, block)


# Scaled dot-product attention of N query heads on K key and value heads, K a divisor of N, with the shapes of
# `einsum_attend`. The output is named `stack.ATTENTION`, so that a policy of rematerialisation may keep it.
Attend: TypeAlias = Callable[[jax.Array, jax.Array, jax.Array, Visibility], jax.Array]


def masked_softmax(scores: Float[jax.Array, "*dims S"], mask: Bool[Array, "..."]) -> Float[jax.Array, "*dims S"]:
    """Softmax over the last axis in float32, with weight 0 where the mask is False; a row without True stays finite."""
    return jax.nn.softmax(jnp.where(mask, scores.astype(jnp.float32), HIDDEN), axis=-1)


def einsum_attend(
    q: Float[jax.Array, "B T N H"],
    k: Float[jax.Array, "B S K H"],
    v: Float[jax.Array, "B S K H"],
    visibility: Visibility,
) -> Float[jax.Array, "B T N H"]:
    """Attention by one einsum for scores and one for values, scale H^-0.5, softmax in float32: the reference."""
    grouped = rearrange(q, "b t (k g) h -> b t k g h", k=k.shape[2])
    scores = jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    weights = masked_softmax(scores, visibility.mask()[:, None, None]).astype(v.dtype)
    out = rearrange(jnp.einsum("bkgts,bskh->btkgh", weights, v), "b t k g h -> b t (k g) h")
    return checkpoint_name(out, ATTENTION)


CacheDims: TypeAlias = Literal["(b k) s h", "b k s h"]

# XLA's CPU backend copies a whole cache twice a step if it is carried apart and multiplied merged.
MERGED: Final[CacheDims] = "(b k) s h"
APART: Final[CacheDims] = "b k s h"


def _dims(cache: Array) -> CacheDims:
    return MERGED if cache.ndim == 3 else APART


def update_cache(
    cache: KVCache, k: Float[jax.Array, "B T K H"], v: Float[jax.Array, "B T K H"], slot: Int[jax.Array, "*B"] | int
) -> KVCache:
    """Writes T new keys and values into the cache, from place `slot` on, which may differ from sample to sample.

    Where they would end behind the last place, they end there.
    """
    samples = len(k)

    def write(old: Array, new: Array) -> jax.Array:
        new = rearrange(new, f"b s k h -> {_dims(old)}").astype(old.dtype)
        if jnp.ndim(slot) == 0 or samples == 1:
            first = slot if jnp.ndim(slot) == 0 else jnp.asarray(slot)[0]
            written = jax.lax.dynamic_update_slice_in_dim(old, new, first, axis=-2)
        else:
            rows = jnp.asarray(old).reshape(samples, -1, *old.shape[-2:])
            new = new.reshape(samples, -1, *new.shape[-2:])
            first = jnp.minimum(jnp.asarray(slot), rows.shape[2] - new.shape[2])
            places = first[:, None] + jnp.arange(new.shape[2])
            number = jnp.arange(samples)[:, None]
            new = jnp.moveaxis(new, 2, 1)
            written = rows.at[number, :, places].set(new, unique_indices=True).reshape(old.shape)
        names = (axes.BATCH, axes.KV_HEADS, None, None)
        return with_logical_constraint(written, names) if _dims(old) == APART else written

    return KVCache(k=write(cache.k, k), v=write(cache.v, v))


def read_cache(
    cache: KVCache, batch: int
) -> tuple[Float[jax.Array, "{batch} S K H"], Float[jax.Array, "{batch} S K H"]]:
    """Reads all keys and values of a cache of `batch` samples."""
    k, v = (rearrange(jnp.asarray(a), f"{_dims(a)} -> b s k h", b=batch) for a in (cache.k, cache.v))
    return k, v


class DecoderAttention(Typed):
    """Qwen3 attention: no biases, RMSNorm of q and k over the head dim, rotary, output projection.

    Attributes:
      num_heads: query heads N.
      num_kv_heads: key and value heads K.
      head_dim: features H of a head.
      norm_eps: epsilon of the norms of q and k.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    norm_eps: float
    attend: Attend = einsum_attend

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "B T D"],
        table: Rope,
        visibility: Visibility,
        cache: KVCache | None = None,
        slot: Int[jax.Array, "*B"] | int = 0,
    ) -> tuple[Float[jax.Array, "B T D"], KVCache | None]:
        """Attends. With a cache, new keys and values enter it at `slot`, and attention runs over all of it."""

        def norm(name: str) -> RMSNorm:
            return RMSNorm(self.norm_eps, axis=axes.HEAD_DIM, param_dtype=self.param_dtype, name=name)

        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        outputs = {"q": (queries, axes.HEADS), "k": (keys, axes.KV_HEADS), "v": (keys, axes.KV_HEADS)}
        q, k, v = (
            rearrange(checkpoint_name(y, PROJECTIONS), "b t (n h) -> b t n h", h=self.head_dim)
            for y in fan_out(self, x, outputs)
        )
        q = rotate(norm("q_norm")(q), table)
        k = rotate(norm("k_norm")(k), table)
        if cache is not None:
            cache = update_cache(cache, k, v, slot)
            k, v = read_cache(cache, x.shape[0])
        out = rearrange(self.attend(q, k, v, visibility), "b t n h -> b t (n h)")
        return Linear(x.shape[-1], (axes.HEADS, axes.EMBED), name="o", **self.dtypes)(out), cache


class EncoderAttention(Typed):
    """Whisper attention: biases on q, v and out, none on k, no rotary.

    Attributes:
      num_heads: heads N.
    """

    num_heads: int
    attend: Attend = einsum_attend

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "W T D"],
        visibility: Visibility,
        cache: KVCache | None = None,
        slot: Int[jax.Array, " W"] | int = 0,
    ) -> tuple[Float[jax.Array, "W T D"], KVCache | None]:
        """Attends inside every window. With a cache, see `DecoderAttention`."""
        width = x.shape[-1]
        linear = partial(Linear, **self.dtypes)

        def project(name: str, use_bias: bool) -> jax.Array:
            y = linear(width, (axes.EMBED, axes.AUDIO_HEADS), use_bias, name=name)(x)
            return rearrange(checkpoint_name(y, PROJECTIONS), "b t (n h) -> b t n h", n=self.num_heads)

        q, k, v = project("q", True), project("k", False), project("v", True)
        if cache is not None:
            cache = update_cache(cache, k, v, slot)
            k, v = read_cache(cache, x.shape[0])
        out = rearrange(self.attend(q, k, v, visibility), "b t n h -> b t (n h)")
        return linear(width, (axes.AUDIO_HEADS, axes.EMBED), True, name="o")(out), cache
