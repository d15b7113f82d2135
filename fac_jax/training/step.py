"""The one training step, for every objective."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax

from fac_jax.training.state import TrainState
from fac_jax.training.trainable import join, split
from fac_jax.types import Params

Metrics: TypeAlias = dict[str, jax.Array]
Counts: TypeAlias = dict[str, jax.Array]
Step: TypeAlias = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Objective:
    """What a stage minimises, as sums over what the counts count: micro-batches add up to exactly their whole.

    Attributes:
      counts: of a batch, float32 scalars: how many labels, pairs, .. its means are over.
      loss: from parameters, a batch, the counts of all micro-batches together, and the reference's parameters (None
        where there is none): the batch's share of the loss, and metrics that add up in the same way.
    """

    counts: Callable[[Any], Counts]
    loss: Callable[[Params, Any, Counts, Params | None], tuple[jax.Array, Metrics]]


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    patterns: Sequence[str],
    micro_batches: int = 1,
    shardings: TrainState | None = None,
) -> Step:
    """Jitted `step(state, batch) -> (state, metrics)`; the state given to it is donated.

    Gradients are taken of the trainable parameters only (`patterns`, see `trainable.split`), so the backward pass stops
    above frozen ones. Metrics are those of the objective, float32 scalars, and `loss`, `grad_norm` (before clipping),
    `learning_rate`, and `finite`: 1.0 if loss and gradient norm are.

    Args:
      objective: what to minimise.
      optimizer: of the trainable parameters.
      schedule: its learning rate, for the metrics.
      patterns: which parameters train.
      micro_batches: more than 1 if every leaf of a batch has a leading axis of so many micro-batches, whose gradients
        are summed in float32 one after the other.
      shardings: where every leaf of the state lies on a mesh (`sharding.shardings`); gradients lie like their
        parameters. None for one device.
    """

    def beside(grads: Params) -> Params:
        if shardings is None:
            return grads
        return jax.lax.with_sharding_constraint(grads, split(shardings.params, patterns)[0])

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        trainable, frozen = split(state.params, patterns)

        def gradients(part: Any, counts: Counts) -> tuple[tuple[jax.Array, Metrics], Params]:
            def loss(params: Params) -> tuple[jax.Array, Metrics]:
                return objective.loss(join(params, frozen), part, counts, state.reference)

            value, grads = jax.value_and_grad(loss, has_aux=True)(trainable)
            return value, beside(grads)

        if micro_batches == 1:
            (loss, metrics), grads = gradients(batch, objective.counts(batch))
        else:
            (loss, metrics), grads = _accumulated(gradients, objective.counts, batch)
        grads = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), grads)  # norm and clipping are float32
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
        return dataclasses.replace(state, step=state.step + 1, params=params, opt_state=opt_state), metrics

    if shardings is None:
        return jax.jit(step, donate_argnums=0)
    return jax.jit(step, donate_argnums=0, in_shardings=(shardings, None), out_shardings=(shardings, shardings.step))


def _accumulated(gradients: Callable[[Any, Counts], Any], count: Callable[[Any], Counts], batch: Any) -> Any:
    """Float32 sums of what `gradients` gives over the micro-batches."""
    counts = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(count)(batch))
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    shapes = jax.eval_shape(gradients, first, counts)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shapes)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda old, new: old + new.astype(jnp.float32), total, gradients(part, counts)), None

    return jax.lax.scan(add, zeros, batch)[0]
