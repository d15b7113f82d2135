"""Dropless mixture of SwiGLU experts with an injected `experts` function (docs/model.md, section 5)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from fac_jax import axes
from fac_jax.layers.experts import ExpertKernels, Experts, sorted_experts
from fac_jax.layers.linear import Linear
from fac_jax.layers.param import kernel_init, param
from fac_jax.types import Array, RouterStats


class MoE(nn.Module):
    """Top-k routed experts; no token is dropped.

    Attributes:
      num_experts: E.
      top_k: experts that a token is sent to.
      hidden: hidden width F of one expert.
      normalize_top_k: renormalise the picked probabilities to sum to 1.
      experts: function that runs the experts.
      dtype: dtype of the products.
      param_dtype: dtype in which the parameters are made.
    """

    num_experts: int
    top_k: int
    hidden: int
    normalize_top_k: bool
    experts: Experts = sorted_experts
    dtype: str = "float32"
    param_dtype: str = "float32"

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], keep: Bool[Array, "B T"]
    ) -> tuple[Float[jax.Array, "B T D"], RouterStats]:
        """Returns the mixture's output and the router's statistics over the tokens that `keep` marks."""
        width, experts = x.shape[-1], self.num_experts
        router = Linear(
            experts, (axes.EMBED, axes.EXPERTS), name="router", dtype=self.dtype, param_dtype=self.param_dtype
        )
        probs = jax.nn.softmax(router(x).astype(jnp.float32), axis=-1)
        weights, picks = jax.lax.top_k(probs, self.top_k)
        if self.normalize_top_k:
            weights = weights / jnp.sum(weights, axis=-1, keepdims=True)

        def kernel(name: str, shape: tuple[int, int], names: tuple[str, str]) -> jax.Array:
            names_of_all, shape_of_all = (axes.EXPERTS, *names), (experts, *shape)
            return param(self, name, _per_expert_init, names_of_all, shape_of_all, self.param_dtype).astype(self.dtype)

        kernels = ExpertKernels(
            gate=kernel("gate", (width, self.hidden), (axes.EMBED, axes.MLP)),
            up=kernel("up", (width, self.hidden), (axes.EMBED, axes.MLP)),
            down=kernel("down", (self.hidden, width), (axes.MLP, axes.EMBED)),
        )
        mixed = self.experts(x.astype(self.dtype), picks, weights, kernels)
        return mixed, _statistics(probs, picks, keep)


def _per_expert_init(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Initialises every expert as a matrix of its own."""
    return jax.vmap(lambda k: kernel_init(k, shape[1:], dtype))(jax.random.split(key, shape[0]))


def _statistics(
    probs: Float[jax.Array, "B T E"], picks: Int[jax.Array, "B T k"], keep: Bool[Array, "B T"]
) -> RouterStats:
    """Sums over kept tokens."""
    kept = keep.astype(jnp.float32)
    counts = jax.nn.one_hot(picks, probs.shape[-1], dtype=jnp.float32).sum(axis=2)
    picked, prob = (jnp.einsum("bt,bte->e", kept, each, precision="highest") for each in (counts, probs))
    entropy = -jnp.sum(kept * jnp.sum(jax.scipy.special.xlogy(probs, probs), axis=-1))
    return RouterStats(picks=picked, probs=prob, tokens=jnp.sum(kept), entropy=entropy)
