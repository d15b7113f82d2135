"""Dropless mixture of SwiGLU experts with an injected `experts` function (model.md section 5)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fac_jax import axes
from fac_jax.layers.experts import ExpertKernels, Experts, sorted_experts
from fac_jax.layers.linear import Linear, kernel_init
from fac_jax.types import RouterStats


class MoE(nn.Module):
    """Top-k routed experts; no token is dropped.

    Attributes:
      num_experts: E.
      top_k: experts a token is sent to.
      hidden: hidden width F of one expert.
      normalize_top_k: renormalise the picked probabilities to sum to 1.
      experts: computes them.
    """

    num_experts: int
    top_k: int
    hidden: int
    normalize_top_k: bool
    experts: Experts = sorted_experts
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, keep: jax.Array) -> tuple[jax.Array, RouterStats]:
        """`x` `[B, T, D]`, `keep` bool `[B, T]` (tokens that count in the statistics) `-> [B, T, D]`, RouterStats."""
        width, experts = x.shape[-1], self.num_experts
        router = Linear(
            experts, (axes.EMBED, axes.EXPERTS), name="router", dtype=self.dtype, param_dtype=self.param_dtype
        )
        probs = jax.nn.softmax(router(x).astype(jnp.float32), axis=-1)
        weights, picks = jax.lax.top_k(probs, self.top_k)
        if self.normalize_top_k:
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)

        def kernel(name: str, shape: tuple[int, ...], names: tuple[str, ...]) -> jax.Array:
            init = nn.with_logical_partitioning(_per_expert_init, names)
            return self.param(name, init, shape, self.param_dtype).astype(self.dtype)

        gate = kernel("gate", (experts, width, self.hidden), (axes.EXPERTS, axes.EMBED, axes.MLP))
        up = kernel("up", (experts, width, self.hidden), (axes.EXPERTS, axes.EMBED, axes.MLP))
        down = kernel("down", (experts, self.hidden, width), (axes.EXPERTS, axes.MLP, axes.EMBED))
        mixed = self.experts(x.astype(self.dtype), picks, weights, ExpertKernels(gate, up, down))
        return mixed, _statistics(probs, picks, keep)


def _per_expert_init(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Every expert is initialised as a matrix of its own."""
    return jax.vmap(lambda k: kernel_init(k, shape[1:], dtype))(jax.random.split(key, shape[0]))


def _statistics(probs: jax.Array, picks: jax.Array, keep: jax.Array) -> RouterStats:
    """Sums over kept tokens; probs `[B, T, E]`, picks `[B, T, k]`, keep `[B, T]`."""
    kept = keep.astype(jnp.float32)
    counts = jax.nn.one_hot(picks, probs.shape[-1], dtype=jnp.float32).sum(axis=2)
    sums = (jnp.einsum("bt,bte->e", kept, of, precision="highest") for of in (counts, probs))
    entropy = -jnp.sum(kept * jnp.sum(jax.scipy.special.xlogy(probs, probs), axis=-1))
    return RouterStats(*sums, tokens=jnp.sum(kept), entropy=entropy)
