"""The Qwen3 decoder stack that the Shared LLM and the refined head share (model.md section 5)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.ad_checkpoint import checkpoint_name

from fac_jax import axes
from fac_jax.layers.attention import MERGED, CacheDims, DecoderAttention, Visibility
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.mlp import SwiGLU
from fac_jax.layers.moe import MoE
from fac_jax.layers.norm import RMSNorm
from fac_jax.layers.residuals import LAYER_INPUT, MLP_INPUT
from fac_jax.layers.rope import Rope, rope
from fac_jax.models.config import DecoderConfig, Remat
from fac_jax.models.remat import rematerialised
from fac_jax.types import KVCache, RouterStats

ACTIVATION = (axes.BATCH, axes.LENGTH, axes.EMBED)  # the residual stream `[B, T, D]`


@struct.dataclass
class Context:
    """What every layer of a stack reads: rotation, visibility, and the cache slot of the first new key."""

    table: Rope
    visibility: Visibility
    slot: jax.Array | int = 0


class DecoderLayer(nn.Module):
    """Pre-norm attention and feed-forward block, dense or with experts."""

    config: DecoderConfig
    sparse: bool
    kernels: Kernels = Kernels()
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: jax.Array, cache: KVCache | None, context: Context
    ) -> tuple[jax.Array, tuple[KVCache | None, RouterStats | None]]:
        """`[B, T, D] -> [B, T, D]`, (cache, router statistics or None)."""
        c, kinds = self.config, {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = checkpoint_name(x, LAYER_INPUT)
        normed = RMSNorm(c.norm_eps, param_dtype=self.param_dtype, name="attention_norm")(x)
        attention = DecoderAttention(
            c.num_heads, c.num_kv_heads, c.head_dim, c.norm_eps, self.kernels.attend, name="attention", **kinds
        )
        attended, cache = attention(normed, context.table, context.visibility, cache, context.slot)
        x = checkpoint_name(x + attended, MLP_INPUT)
        normed = RMSNorm(c.norm_eps, param_dtype=self.param_dtype, name="mlp_norm")(x)
        if not self.sparse:
            x = x + SwiGLU(c.mlp_width, name="mlp", **kinds)(normed)
            return nn.with_logical_constraint(x, ACTIVATION), (cache, None)
        moe = c.moe
        shape = (moe.num_experts, moe.top_k, moe.expert_width, moe.normalize_top_k)
        experts = MoE(*shape, self.kernels.experts, name="moe", **kinds)
        mixed, stats = experts(normed, context.visibility.q_segments > 0)
        return nn.with_logical_constraint(x + mixed, ACTIVATION), (cache, stats)


class Decoder(nn.Module):
    """Layers and final norm. Runs of equal layers are scanned (`layers_{start}` holds stacked parameters), or, with
    `scan_layers=False`, every layer `i` stands by itself as `layers_{i}`; `unstack_layers` goes from one to the other.
    """

    config: DecoderConfig
    kernels: Kernels = Kernels()
    scan_layers: bool = True
    remat: Remat = "none"
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        positions: jax.Array,
        visibility: Visibility,
        caches: tuple[KVCache, ...] | None = None,
        slot: jax.Array | int = 0,
    ) -> tuple[jax.Array, tuple[KVCache, ...] | None, RouterStats | None]:
        """`x` `[B, T, D]`, `positions` int32 `[B, T]` -> states after the final norm, caches, router statistics.

        `caches`, one a layer, are for layers that stand by themselves (`scan_layers=False`).
        """
        c = self.config
        context = Context(rope(positions, c.head_dim, c.rope_theta), visibility, slot)
        layer = rematerialised(DecoderLayer, self.remat, scanned=self.scan_layers)
        arguments = {"kernels": self.kernels, "dtype": self.dtype, "param_dtype": self.param_dtype}
        stats: list[RouterStats] = []
        new_caches: list[KVCache] = []
        if self.scan_layers:
            for start, length in c.runs():
                stack = nn.scan(
                    layer,
                    variable_axes={"params": 0},
                    split_rngs={"params": True},
                    in_axes=(nn.broadcast, nn.broadcast),
                    length=length,
                    metadata_params={nn.PARTITION_NAME: axes.LAYERS},
                )
                module = stack(c, c.is_sparse(start), name=f"layers_{start}", **arguments)
                x, (_, run) = module(x, None, context)
                if run is not None:
                    stats.append(jax.tree.map(lambda a: jnp.sum(a, axis=0), run))
        else:
            for i in range(c.depth):
                module = layer(c, c.is_sparse(i), name=f"layers_{i}", **arguments)
                x, (cache, one) = module(x, None if caches is None else caches[i], context)
                if cache is not None:
                    new_caches.append(cache)
                if one is not None:
                    stats.append(one)
        router = jax.tree.map(lambda *a: sum(a), *stats) if stats else None
        x = RMSNorm(c.norm_eps, param_dtype=self.param_dtype, name="norm")(x)
        return x, (tuple(new_caches) if caches is not None else None), router


def unstack_layers(params: dict[str, Any], config: DecoderConfig) -> dict[str, Any]:
    """Parameters of a scanned `Decoder` as those of one with `scan_layers=False`."""
    out = {name: value for name, value in params.items() if not name.startswith("layers_")}
    for start, length in config.runs():
        for i in range(length):
            out[f"layers_{start + i}"] = jax.tree.map(lambda a, i=i: a[i], params[f"layers_{start}"])
    return out


def empty_caches(config: DecoderConfig, batch: int, slots: int, dtype: str, dims: CacheDims) -> tuple[KVCache, ...]:
    """Zero caches of `slots` positions, one a layer."""
    rows = (batch * config.num_kv_heads,) if dims == MERGED else (batch, config.num_kv_heads)
    shape = (*rows, slots, config.head_dim)
    return tuple(KVCache(k=jnp.zeros(shape, dtype), v=jnp.zeros(shape, dtype)) for _ in range(config.depth))
