"""AdamW or Adafactor with clipping and sound master weights, and the learning-rate schedule."""

import dataclasses
import functools
import math
import re
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from fac_jax.models.lora import is_leaf
from fac_jax.training.rounding import Rounding, rounded
from fac_jax.training.trainable import SEP
from fac_jax.types import InputError, Params

Kind = Literal["adamw", "adafactor"]
POSITIONS: Final = "encoder/positions"
Moments = Literal["float32", "bfloat16"]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Hyperparameters of the optimizer: a linear warm-up to the peak, then a cosine to the floor.

    Attributes:
      peak: highest learning rate, at least 0.
      floor: learning rate of the last step, from 0 to the peak.
      warmup: fraction of the steps that climb linearly to the peak, from 0 to 1.
      b1: decay of Adam's first moment, in [0, 1).
      b2: decay of Adam's second moment, in [0, 1).
      eps: term that keeps Adam's denominator above 0.
      weight_decay: decoupled weight decay, which the learning rate multiplies.
      no_decay: regular expression of the parameter paths that do not decay.
      rates: factors of the learning rate, "PATTERN=FACTOR" with a regular expression of the parameters' paths that is
        matched at their beginning ("encoder/=0.1"); of several that match, the first counts, and the factor is 1 where
        none does.
      clip_norm: highest global norm of the gradient over the trainable parameters.
      average: decay of an exponential moving average of the trainable parameters, which becomes the stage's model, in
        (0, 1); None takes the parameters of the last step.
      kind: "adamw", or "adafactor" (Shazeer and Stern 2018), which keeps no first moment, and of a matrix's second
        moment the sums of rows and columns only. It is for memory that does not hold AdamW's moments.
      moments: dtype in which the moments are stored. They are updated in float32.
      rounding: how an update becomes a parameter. "nearest" needs float32 parameters; "stochastic" makes bfloat16
        parameters sound (see `rounding.rounded`).

    Raises:
      InputError: a value is outside its range.
    """

    peak: float
    floor: float = 0.0
    warmup: float = 0.02
    b1: float = 0.9
    b2: float = 0.98
    eps: float = 1e-8
    weight_decay: float = 0.01
    no_decay: str = r"(^|/)(scale|bias|embedding|bos_eos)$"
    rates: tuple[str, ...] = ()
    clip_norm: float = 1.0
    average: float | None = None
    kind: Kind = "adamw"
    moments: Moments = "float32"
    rounding: Rounding = "nearest"

    def __post_init__(self) -> None:
        average = 0.5 if self.average is None else self.average
        self._require("peak", self.peak >= 0, "at least 0")
        self._require("floor", 0 <= self.floor <= self.peak, f"from 0 to the peak, {self.peak}")
        self._require("warmup", 0 <= self.warmup <= 1, "a fraction of the steps, from 0 to 1")
        self._require("b1", 0 <= self.b1 < 1, "at least 0 and less than 1")
        self._require("b2", 0 <= self.b2 < 1, "at least 0 and less than 1")
        self._require("eps", self.eps > 0, "more than 0")
        self._require("weight_decay", self.weight_decay >= 0, "at least 0")
        self._require("clip_norm", self.clip_norm > 0, "more than 0")
        self._require("average", 0 < average < 1, "more than 0 and less than 1, or None")
        for name, known in (("kind", Kind), ("moments", Moments), ("rounding", Rounding)):
            self._require(name, getattr(self, name) in get_args(known), f"one of {', '.join(get_args(known))}")
        for name, pattern in (("no_decay", self.no_decay), *(("rates", pattern) for pattern, _ in self.factors())):
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"optimizer.{name} is {pattern!r}, no regular expression: {error}") from None

    def factors(self) -> list[tuple[str, float]]:
        """Returns the patterns of `rates` with their factors, in their order.

        Raises:
          InputError: one is no pattern and factor.
        """
        found = []
        for rate in self.rates:
            pattern, _, factor = rate.rpartition("=")
            try:
                found.append((pattern, float(factor)))
            except ValueError:
                raise InputError(
                    f'optimizer.rates has {rate!r}; it is "PATTERN=FACTOR", as in "encoder/=0.1"'
                ) from None
            if not 0 <= found[-1][1] < math.inf:
                raise InputError(f"optimizer.rates has {rate!r}; the factor is a finite number, at least 0")
        return found

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(f"optimizer.{name} is {getattr(self, name)!r}; it is {rule}")


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Learning rate of update k = 0 .. steps - 1: a linear climb to the peak, then a cosine that ends at the floor.

    The first update has the rate peak / (warm-up steps + 1), so that no update has the rate 0.
    """
    warmup = round(config.warmup * steps)
    return optax.warmup_cosine_decay_schedule(
        init_value=config.peak / (warmup + 1),
        peak_value=config.peak,
        warmup_steps=warmup,
        decay_steps=warmup + max(steps - 1 - warmup, 1),
        end_value=config.floor,
    )


def decays(params: Params, no_decay: str) -> Params:
    """Tree of bools with the structure of `params`: True for the parameters that weight decay acts on.

    Adapters never decay: their kernels do not go to 0, but back to the base. Nor does Whisper's stored table of
    positions, which is a constant.
    """
    flat = traverse_util.flatten_dict(params, sep=SEP)
    never = {path for path in flat if path == POSITIONS or is_leaf(path)}
    found = {path: re.search(no_decay, path) is None and path not in never for path in flat}
    return traverse_util.unflatten_dict(found, sep=SEP)


def factors(params: Params, rates: Sequence[tuple[str, float]]) -> Params:
    """Returns the factor of the learning rate of every parameter (`OptimizerConfig.factors`), as a tree of floats.

    Raises:
      InputError: a pattern matches no parameter.
    """
    flat = traverse_util.flatten_dict(params, sep=SEP)
    for pattern, _ in rates:
        if not any(re.match(pattern, path) for path in flat):
            raise InputError(f"optimizer.rates: {pattern!r} matches no parameter that trains")
    found = {path: next((x for pattern, x in rates if re.match(pattern, path)), 1.0) for path in flat}
    return traverse_util.unflatten_dict(found, sep=SEP)


def scaled(rates: Sequence[tuple[str, float]]) -> optax.GradientTransformation:
    """Multiplies the updates of parameters by their factors."""

    def update(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        chosen = factors(cast(Params, updates), rates)
        return jax.tree.map(lambda change, factor: change * factor, updates, chosen)

    return optax.stateless(update)


class AverageState(NamedTuple):
    """Float32 average of the trainable parameters."""

    average: Params


def average_params(decay: float) -> optax.GradientTransformation:
    """Keeps `decay * average + (1 - decay) * params` of the updated parameters; it is the last link of a chain.

    The average is a part of the optimizer's state, so checkpoints contain it. `averaged` finds it there. (`optax.ema`
    averages updates, not parameters.)
    """

    def init(params: optax.Params) -> AverageState:
        return AverageState(jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), params))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AverageState]:
        new = optax.apply_updates(cast(optax.Params, params), updates)
        old = cast(AverageState, state).average
        return updates, AverageState(cast(Params, optax.incremental_update(new, old, 1 - decay)))

    return optax.GradientTransformation(init, update)


def averaged(opt_state: optax.OptState, params: Params) -> Params:
    """The averaged parameters in an optimizer's state, in the dtypes of `params`, or `params` if it has no average."""
    found = [state.average for state in cast(tuple, opt_state) if isinstance(state, AverageState)]
    return jax.tree.map(lambda average, leaf: average.astype(leaf.dtype), found[0], params) if found else params


def kept_in(inner: optax.GradientTransformation, dtype: str) -> optax.GradientTransformation:
    """The same transformation, computed in float32, with a state that is stored in `dtype`."""

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
    """The transformation of the trainable parameters; frozen parameters never reach it.

    Its `init` raises InputError if it is given parameters that its rounding cannot train (`rounding.check_master`).
    """
    mask = functools.partial(decays, no_decay=config.no_decay)
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
    if config.rates:
        links.append(scaled(config.factors()))
    links.append(rounded(config.rounding))
    if config.average is not None:
        links.append(average_params(config.average))
    return optax.chain(*links)
