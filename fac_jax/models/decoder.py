"""The Qwen3 decoder stack that the Shared LLM and the refined head share (docs/model.md, section 5)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from flax.linen.spmd import with_logical_constraint
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Float, Int

from fac_jax import axes
from fac_jax.layers.attention import MERGED, CacheDims, DecoderAttention, Visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.mlp import SwiGLU
from fac_jax.layers.moe import MoE
from fac_jax.layers.norm import RMSNorm
from fac_jax.layers.param import Typed
from fac_jax.layers.rope import Rope, rope
from fac_jax.layers.stack import LAYER_INPUT, MLP_INPUT, Remat, rematerialised, stacked
from fac_jax.models.config import DecoderConfig, MoEConfig
from fac_jax.types import Array, KVCache, RouterStats

ACTIVATION = (axes.BATCH, axes.LENGTH, axes.EMBED)  # the residual stream `[B, T, D]`


@struct.dataclass
class Context:
    """Inputs that every layer of a stack shares: rotation, visibility, and the cache place of the first new key."""

    table: Rope
    visibility: Visibility
    slot: Int[jax.Array, "*B"] | int = 0


class DecoderLayer(Typed):
    """Pre-norm attention and feed-forward block.

    Attributes:
      moe: experts of this layer; None for a dense feed-forward block.
    """

    config: DecoderConfig
    moe: MoEConfig | None
    kernels: Kernels

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], cache: KVCache | None, context: Context
    ) -> tuple[Float[jax.Array, "B T D"], tuple[KVCache | None, RouterStats | None]]:
        """Returns the new state, and the new cache and router statistics (None without them)."""
        c, moe = self.config, self.moe
        x = checkpoint_name(x, LAYER_INPUT)
        normed = RMSNorm(c.norm_eps, param_dtype=self.param_dtype, name="attention_norm")(x)
        attention = DecoderAttention(
            c.num_heads, c.num_kv_heads, c.head_dim, c.norm_eps, self.kernels.attend, name="attention", **self.dtypes
        )
        attended, cache = attention(normed, context.table, context.visibility, cache, context.slot)
        x = checkpoint_name(x + attended, MLP_INPUT)
        normed = RMSNorm(c.norm_eps, param_dtype=self.param_dtype, name="mlp_norm")(x)
        if moe is None:
            mlp = SwiGLU(c.mlp_width, name="mlp", **self.dtypes)
            return with_logical_constraint(x + mlp(normed), ACTIVATION), (cache, None)
        sizes = (moe.num_experts, moe.top_k, moe.expert_width)
        experts = MoE(*sizes, moe.normalize_top_k, self.kernels.experts, name="moe", **self.dtypes)
        mixed, stats = experts(normed, context.visibility.q_segments > 0)
        return with_logical_constraint(x + mixed, ACTIVATION), (cache, stats)


class Decoder(Typed):
    """Decoder layers and the final norm.

    Runs of equal layers are scanned (`layers_{start}` holds stacked parameters). With `scan_layers=False` every layer
    `i` is a module of its own, `layers_{i}`, as in generation (`generation.prepared`).

    Attributes:
      scan_layers: whether runs of equal layers are scanned.
      remat: what a layer recomputes in the backward pass (`ModelConfig.remat`).
      unroll: whether the compiled scan has no loop (`ModelConfig.unroll_layers`).
    """

    config: DecoderConfig
    kernels: Kernels = Kernels()
    scan_layers: bool = True
    remat: Remat = "none"
    unroll: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "B T D"],
        positions: Int[Array, "B T"],
        visibility: Visibility,
        caches: tuple[KVCache, ...] = (),
        slot: Int[jax.Array, "*B"] | int = 0,
    ) -> tuple[Float[jax.Array, "B T D"], tuple[KVCache, ...], RouterStats | None]:
        """Runs all layers.

        Args:
          positions: positions inside the segments, for the rotary embedding.
          visibility: which key each query sees; with caches, the keys are the slots of the caches.
          caches: one for each layer, which takes `scan_layers=False`; empty without decoding.
          slot: cache place of the first new key, or one for each sample.

        Returns:
          States after the final norm, new caches, router statistics (None for a dense decoder).
        """
        c = self.config
        context = Context(rope(positions, c.head_dim, c.rope_theta), visibility, slot)
        layer = rematerialised(DecoderLayer, self.remat, scanned=self.scan_layers and not self.unroll)

        def module_of(kind: type[DecoderLayer], first: int) -> DecoderLayer:
            moe = c.moe if c.is_sparse(first) else None
            return kind(c, moe, self.kernels, name=f"layers_{first}", **self.dtypes)

        stats: list[RouterStats] = []
        new_caches: list[KVCache] = []
        if self.scan_layers:
            for start, length in c.runs():
                x, (_, run) = module_of(stacked(layer, length, unroll=self.unroll), start)(x, None, context)
                if run is not None:
                    stats.append(jax.tree.map(lambda a: jnp.sum(a, axis=0), run))
        else:
            for i in range(c.depth):
                x, (cache, one) = module_of(layer, i)(x, caches[i] if caches else None, context)
                if cache is not None:
                    new_caches.append(cache)
                if one is not None:
                    stats.append(one)
        router = jax.tree.map(lambda *a: sum(a), *stats) if stats else None
        x = RMSNorm(c.norm_eps, param_dtype=self.param_dtype, name="norm")(x)
        return x, tuple(new_caches), router


def empty_caches(config: DecoderConfig, batch: int, slots: int, dtype: str, dims: CacheDims) -> tuple[KVCache, ...]:
    """Makes a cache of zeros with `slots` positions for every layer."""
    rows = (batch * config.num_kv_heads,) if dims == MERGED else (batch, config.num_kv_heads)
    shape = (*rows, slots, config.head_dim)
    return tuple(KVCache(k=jnp.zeros(shape, dtype), v=jnp.zeros(shape, dtype)) for _ in range(config.depth))
