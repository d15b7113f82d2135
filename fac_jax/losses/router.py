"""Load balancing of mixture-of-experts routers, and what is watched of them."""

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


def router_metrics(stats: RouterStats) -> dict[str, jax.Array]:
    """Float32 scalars over the unmasked tokens of all MoE layers together; 0 when there is none.

    `router_loss` is `load_balancing_loss`; `router_load` the picks of the busiest expert over those of even routing, 1
    to E / k; `router_idle` the share of experts that nothing picked; `router_entropy` that of the router's distribution
    of a token, 0 to log E nats.
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
