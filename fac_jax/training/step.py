"""The training step, one for every loss, and the state that it changes."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, cast

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Int32

from fac_jax.losses.base import Counts, Loss, Metrics
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.compiler import Options
from fac_jax.parallel.mesh import Layout
from fac_jax.precision import Precision, products
from fac_jax.training.optimizer import averaged
from fac_jax.training.trainable import join, split
from fac_jax.types import Array, Params

Step: TypeAlias = jax.stages.Wrapped  # (TrainState, batch) -> (TrainState, Metrics), not compiled yet


@struct.dataclass
class TrainState:
    """What a step changes. It has no random state: random numbers belong to the data, which has its own state.

    Attributes:
      step: number of updates made in this stage.
      params: all parameters, the frozen ones included.
      opt_state: optimizer state of the trainable parameters.
      reference: parameters of the reference model of a preference loss, which no step changes; None without one. They
        are those that the stage starts from, so they are not in its checkpoints.
    """

    step: Int32[Array, ""]
    params: Params
    opt_state: optax.OptState
    reference: Params | None = None


def init_state(
    params: Params,
    optimizer: optax.GradientTransformation,
    patterns: Sequence[str],
    reference: Params | None = None,
) -> TrainState:
    """Returns the state before the first step; `patterns` say which of all `params` train (`trainable.split`)."""
    trainable, _ = split(params, patterns)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trainable), reference)


def final_params(state: TrainState, patterns: Sequence[str]) -> Params:
    """Returns the model of a state: its parameters, or their average where the optimizer keeps one."""
    trainable, frozen = split(state.params, patterns)
    return join(averaged(state.opt_state, trainable), frozen)


@dataclasses.dataclass(frozen=True)
class Objective:
    """The function that a step minimises: a loss bound to a model, or any other pair of functions of this form.

    It is written as sums, so that the losses of micro-batches add up to that of the whole batch.

    Attributes:
      counts: maps a batch to float32 scalars, the numbers of labels, pairs, .. that its means are over.
      loss: maps parameters, a batch, the counts of all micro-batches together, and the parameters of the reference
        (None without one) to the batch's part of the loss, and to metrics that add up in the same way.
      precision: precision of float32 matrix products, of the loss and of its gradients.
    """

    counts: Callable[[Any], Counts]
    loss: Callable[[Params, Any, Counts, Params | None], tuple[jax.Array, Metrics]]
    precision: Precision = "default"


def bind(loss: Loss, model: FunAudioChat, layout: Layout | None = None, precision: Precision = "default") -> Objective:
    """Binds a loss to a model, and the logical axis names in both to a mesh."""
    counts = functools.partial(loss.counts, config=model.config)
    value = functools.partial(loss, model)
    if layout is not None:
        counts, value = layout.inside(counts), layout.inside(value)
    return Objective(counts, value, precision)


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    patterns: Sequence[str],
    micro_batches: int = 1,
    shardings: TrainState | None = None,
    options: Options | None = None,
) -> Step:
    """Makes the jitted `step(state, batch) -> (state, metrics)`, which donates its state.

    Gradients are taken with respect to the trainable parameters only (`patterns`, see `trainable.split`), so the
    backward pass stops above frozen ones. The norm and the clipping of gradients are float32, whatever the dtype of
    the parameters. Metrics are float32 scalars: those of the objective, `loss`, `grad_norm` (before clipping),
    `learning_rate`, and `finite`, which is 1.0 if loss and gradient norm are finite.

    Args:
      schedule: the optimizer's learning rate, for the metrics.
      micro_batches: if more than 1, every leaf of a batch has a leading axis of this size, and the gradients of the
        micro-batches are summed in float32 one after the other.
      shardings: shardings of the state on a mesh (`program.shardings`); gradients are sharded like their parameters.
        None for one device.
      options: what XLA is told (`parallel.compiler`); None for its own defaults.
    """

    def sharded(grads: Params) -> Params:
        if shardings is None:
            return grads
        return jax.lax.with_sharding_constraint(grads, split(shardings.params, patterns)[0])

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        trainable, frozen = split(state.params, patterns)

        def gradients(part: Any, counts: Counts) -> tuple[tuple[jax.Array, Metrics], Params]:
            def loss(params: Params) -> tuple[jax.Array, Metrics]:
                return objective.loss(join(params, frozen), part, counts, state.reference)

            value, grads = jax.value_and_grad(loss, has_aux=True)(trainable)
            return value, sharded(grads)

        with products(objective.precision):
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

    how: dict[str, Any] = {"donate_argnums": 0, "compiler_options": dict(options or {})}
    if shardings is not None:
        how |= {"in_shardings": (shardings, None), "out_shardings": (shardings, shardings.step)}
    return jax.jit(step, **how)


def _accumulated(gradients: Callable[[Any, Counts], Any], count: Callable[[Any], Counts], batch: Any) -> Any:
    """Float32 sums of what `gradients` gives over the micro-batches."""
    counts = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(count)(batch))
    first = jax.tree.map(lambda leaf: leaf[0], batch)
    shapes = jax.eval_shape(gradients, first, counts)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), shapes)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda old, new: old + new.astype(jnp.float32), total, gradients(part, counts)), None

    return jax.lax.scan(add, zeros, batch)[0]
