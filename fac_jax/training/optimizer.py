"""AdamW or Adafactor with clipping, and the learning-rate schedule."""

import dataclasses
import re
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from fac_jax.training.trainable import path_of
from fac_jax.types import Params


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, and a cosine from peak to floor after a linear warm-up.

    Attributes:
      peak: greatest learning rate.
      floor: learning rate of the last step.
      warmup: share of the steps that climb linearly to the peak.
      b1, b2, eps: moments of Adam.
      weight_decay: decoupled decay, times the learning rate.
      no_decay: regular expression of the paths that do not decay.
      clip_norm: greatest global norm of the gradient over the trainable parameters.
      average: decay of an exponential average of the trainable parameters, which becomes the stage's model; None for
        the parameters of the last step.
      kind: "adamw", or "adafactor" (Shazeer and Stern 2018): no first moment, and of a matrix's second one its rows and
        columns alone, for memory that does not hold AdamW's.
      moments: dtype in which the moments are kept, whatever that of the parameters; they are updated in float32.
    """

    peak: float
    floor: float = 0.0
    warmup: float = 0.02
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 0.01
    no_decay: str = r"(^|/)(scale|bias|embedding|bos_eos)$"
    clip_norm: float = 1.0
    average: float | None = None
    kind: Literal["adamw", "adafactor"] = "adamw"
    moments: Literal["float32", "bfloat16"] = "float32"


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate of update k = 0 .. steps - 1: linear to the peak, then a cosine that ends at the floor."""
    warmup = round(config.warmup * steps)
    decay = max(steps - 1 - warmup, 1)

    def rate(count: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(count, jnp.float32)
        climb = config.peak * (step + 1.0) / (warmup + 1.0)
        done = jnp.clip((step - warmup) / decay, 0.0, 1.0)
        fall = config.floor + (config.peak - config.floor) * 0.5 * (1.0 + jnp.cos(jnp.pi * done))
        return jnp.where(step < warmup, climb, fall)

    return rate


def decays(params: Params, no_decay: str) -> Params:
    """Tree of bools of the structure of `params`: which parameters weight decay acts on."""
    matcher = re.compile(no_decay)
    flat = traverse_util.flatten_dict(params)
    return traverse_util.unflatten_dict({keys: matcher.search(path_of(keys)) is None for keys in flat})


class AverageState(NamedTuple):
    """Float32 average of the trainable parameters."""

    average: Params


def average_params(decay: float) -> optax.GradientTransformation:
    """Keeps `decay * average + (1 - decay) * params` of the updated parameters; the last link of a chain.

    It lies in the optimizer's state, so that checkpoints hold it; `averaged` finds it there.
    """

    def init(params: optax.Params) -> AverageState:
        return AverageState(jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AverageState]:
        new = optax.apply_updates(cast(optax.Params, params), updates)
        old = cast(AverageState, state).average
        return updates, AverageState(jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, old, new))

    return optax.GradientTransformation(init, update)


def averaged(opt_state: optax.OptState, params: Params) -> Params:
    """The averaged parameters that an optimizer's state holds, in the dtypes of `params`, else `params` themselves."""
    found = [state.average for state in cast(tuple, opt_state) if isinstance(state, AverageState)]
    return jax.tree.map(lambda average, leaf: average.astype(leaf.dtype), found[0], params) if found else params


def kept_in(inner: optax.GradientTransformation, dtype: str) -> optax.GradientTransformation:
    """The same transformation, computed in float32, its state kept in `dtype`."""

    def cast_floats(tree: Any, to: str) -> Any:
        return jax.tree.map(lambda leaf: leaf.astype(to) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)

    def init(params: optax.Params) -> optax.OptState:
        return cast_floats(inner.init(params), dtype)

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        made, new = inner.update(*(cast_floats(tree, "float32") for tree in (updates, state, params)))
        return made, cast_floats(new, dtype)

    return optax.GradientTransformation(init, update)


def make_optimizer(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The transformation of the trainable parameters (frozen ones never reach it)."""

    def mask(params: Any) -> Params:
        return decays(cast(Params, params), config.no_decay)

    if config.kind == "adamw":
        chosen = optax.adamw(
            schedule, b1=config.b1, b2=config.b2, eps=config.eps, weight_decay=config.weight_decay, mask=mask
        )
    else:
        chosen = optax.chain(
            optax.scale_by_factored_rms(),
            optax.clip_by_block_rms(1.0),
            optax.add_decayed_weights(config.weight_decay, mask),
            optax.scale_by_learning_rate(schedule),
        )
    links = [optax.clip_by_global_norm(config.clip_norm), kept_in(chosen, config.moments)]
    if config.average is not None:
        links.append(average_params(config.average))
    return optax.chain(*links)
