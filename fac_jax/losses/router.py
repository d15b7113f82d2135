"""Load balancing of mixture-of-experts routers."""

import jax
import jax.numpy as jnp

from fac_jax.types import RouterStats


def load_balancing_loss(stats: RouterStats) -> jax.Array:
    """`E * sum_e f_e p_e` over the unmasked tokens of all MoE layers together (model.md section 5).

    f_e is the share of tokens that picked expert e (k slots, so f sums to k) and p_e its mean router probability.
    Even routing gives k, its least value. Float32 scalar; 0 when no token is unmasked.
    """
    tokens = jnp.maximum(stats.tokens, 1.0)
    experts = stats.picks.shape[-1]
    return experts * jnp.sum((stats.picks / tokens) * (stats.probs / tokens))
