"""The one training step, for every objective."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax

from fac_jax.training.state import TrainState
from fac_jax.training.trainable import join, split
from fac_jax.types import Batch, Params

Metrics: TypeAlias = dict[str, jax.Array]
Objective: TypeAlias = Callable[[Params, Batch], tuple[jax.Array, Metrics]]
Step: TypeAlias = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def make_step(
    objective: Objective, optimizer: optax.GradientTransformation, schedule: optax.Schedule, patterns: Sequence[str]
) -> Step:
    """Jitted `step(state, batch) -> (state, metrics)`; the state given to it is donated.

    Gradients are taken of the trainable parameters only (`patterns`, see `trainable.split`), so the backward pass stops
    above frozen ones. Metrics are those of the objective, float32 scalars, and `loss`, `grad_norm` (before clipping),
    `learning_rate`, and `finite`: 1.0 if loss and gradient norm are.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        trainable, frozen = split(state.params, patterns)
        grad = jax.value_and_grad(lambda p: objective(join(p, frozen), batch), has_aux=True)
        (loss, metrics), grads = grad(trainable)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, trainable)
        params = join(cast(Params, optax.apply_updates(trainable, updates)), frozen)
        metrics = metrics | {
            "loss": loss,
            "grad_norm": norm,
            "learning_rate": schedule(state.step),
            "finite": jnp.isfinite(loss) & jnp.isfinite(norm),
        }
        metrics = {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}
        return TrainState(step=state.step + 1, params=params, opt_state=opt_state), metrics

    return jax.jit(step, donate_argnums=0)
