"""Load balancing loss of mixture-of-experts routers, and metrics of their routing."""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fac_jax.types import RouterStats


def load_balancing_loss(stats: RouterStats) -> Float[jax.Array, ""]:
    """Computes `E * sum_e f_e p_e` over the unmasked tokens of all MoE layers together, a float32 scalar.

    f_e is the share of tokens that picked expert e (k slots, so f sums to k) and p_e its mean router probability.
    Even routing gives k, the least value. The loss is 0 when no token is unmasked.
    """
    tokens = jnp.maximum(stats.tokens, 1.0)
    experts = stats.picks.shape[-1]
    return experts * jnp.sum((stats.picks / tokens) * (stats.probs / tokens))


def router_metrics(stats: RouterStats) -> dict[str, Float[jax.Array, ""]]:
    """Computes metrics over the unmasked tokens of all MoE layers together, float32 scalars; 0 when there is none.

    `router_loss` is `load_balancing_loss`. `router_load` is the number of picks of the busiest expert over that of even
    routing, 1 to E / k. `router_idle` is the share of experts that no token picked. `router_entropy` is the mean
    entropy of the router's distribution for a token, 0 to log E nats.
    """
    tokens = jnp.maximum(stats.tokens, 1.0)
    picks = jnp.asarray(stats.picks)
    even = jnp.maximum(jnp.mean(picks), 1e-9)
    return {
        "router_loss": load_balancing_loss(stats),
        "router_load": jnp.max(picks) / even,
        "router_idle": jnp.mean(picks == 0, dtype=jnp.float32),
        "router_entropy": jnp.asarray(stats.entropy) / tokens,
    }
