"""The training step, one for every loss."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax

from fac_jax.losses.base import Counts, Loss, Metrics
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.mesh import Layout
from fac_jax.training.state import TrainState
from fac_jax.training.trainable import join, split
from fac_jax.types import Params

Step: TypeAlias = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Objective:
    """The function that a step minimises: a loss bound to a model, or any other pair of functions of this form.

    Attributes:
      counts: counts the labels, pairs, .. of a batch that the loss averages over, float32 scalars.
      loss: takes parameters, a batch, the counts of all micro-batches together, and the reference's parameters (None
        without a reference); returns the batch's share of the loss, and metrics that add up in the same way.
    """

    counts: Callable[[Any], Counts]
    loss: Callable[[Params, Any, Counts, Params | None], tuple[jax.Array, Metrics]]


def bind(loss: Loss, model: FunAudioChat, layout: Layout | None = None) -> Objective:
    """Binds a loss to a model.

    Args:
      loss: what to minimise.
      model: module that the loss runs.
      layout: mesh that logical axis names refer to while the functions are traced; None for one device.
    """
    counts = functools.partial(loss.counts, config=model.config)
    value = functools.partial(loss, model)
    return Objective(counts, value) if layout is None else Objective(layout.inside(counts), layout.inside(value))


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
            (loss, metrics), grads = _accumulated(gradients, objective.counts, batch, trainable)
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


def _accumulated(
    gradients: Callable[[Any, Counts], Any], count: Callable[[Any], Counts], batch: Any, trainable: Params
) -> Any:
    """Sums of what `gradients` gives over the micro-batches, in float32; gradients in the dtype of their parameters."""
    counts = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(count)(batch))
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    shapes = jax.eval_shape(gradients, first, counts)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shapes)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda old, new: old + new.astype(jnp.float32), total, gradients(part, counts)), None

    (sums, grads), _ = jax.lax.scan(add, zeros, batch)
    return sums, jax.tree.map(lambda grad, param: grad.astype(param.dtype), grads, trainable)
