"""Master weights: what small updates change in float32, and in bfloat16 with stochastic rounding."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fac_jax.training.optimizer import OptimizerConfig, make_optimizer
from fac_jax.training.rounding import check_master, round_stochastically, rounded
from fac_jax.training.step import init_state
from fac_jax.types import InputError, Params

RATE, STEPS = 1e-5, 10
CONFIG = OptimizerConfig(peak=RATE, weight_decay=0.0)


def weights(dtype: str) -> Params:
    """Weights of a usual size, N(0, 0.02), and a norm's scale."""
    kernel = (0.02 * jax.random.normal(jax.random.key(0), (64, 64))).astype(dtype)
    return {"layer": {"kernel": kernel, "scale": jnp.ones(64, dtype)}}


def train(params: Params, config: OptimizerConfig, steps: int = STEPS) -> Params:
    optimizer = make_optimizer(config, optax.constant_schedule(RATE))
    state = optimizer.init(params)
    grads = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), params)
    for _ in range(steps):
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return params


def moved(before: Params, after: Params) -> float:
    changed = jax.tree.map(lambda a, b: jnp.sum(a != b), before, after)
    return sum(map(int, jax.tree.leaves(changed))) / sum(leaf.size for leaf in jax.tree.leaves(before))


def test_small_updates_move_float32_parameters(figures) -> None:
    start = weights("float32")
    figures.at_least("float32 parameters that ten steps at 1e-5 move", moved(start, train(start, CONFIG)), 0.99)


def test_small_updates_of_bfloat16_parameters_are_right_in_the_mean(figures) -> None:
    """Adam's update of a constant gradient is the rate itself; rounded to the nearest it never moves a scale of 1."""
    start = weights("bfloat16")
    after = train(start, dataclasses.replace(CONFIG, rounding="stochastic"), steps=100)
    for name, leaf in after["layer"].items():
        assert leaf.dtype == jnp.bfloat16
        change = np.asarray(leaf, np.float64) - np.asarray(start["layer"][name], np.float64)
        error = np.abs(change.mean() + 100 * RATE) / (change.std() / np.sqrt(change.size))
        figures(f"stochastic rounding, mean update of a {name}, standard errors from the exact one", error, 3.0)
    nearest = (jnp.ones(64, jnp.bfloat16) - jnp.float32(RATE)).astype(jnp.bfloat16)
    assert np.all(np.asarray(nearest, np.float32) == 1.0)


def test_a_value_is_rounded_to_a_neighbour_with_the_right_mean() -> None:
    values = jnp.array([1.0, 1.0 + 2.0**-9, -3.3, 1e-30, 0.0])
    keys = jax.random.split(jax.random.key(1), 20_000)
    drawn = np.asarray(jax.jit(jax.vmap(partial(round_stochastically, values)))(keys), np.float64)
    unit = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(np.asarray(values)), 1e-38))) - 7)
    assert np.all(np.abs(drawn - np.asarray(values)) < unit)
    assert np.all(np.abs(drawn.mean(axis=0) - np.asarray(values)) < 4 * unit / np.sqrt(len(keys)))
    assert np.all(drawn[:, [0, 4]] == [1.0, 0.0])  # what a bfloat16 can hold stays
    odd = jnp.array([jnp.inf, -jnp.inf, jnp.nan])
    np.testing.assert_array_equal(np.asarray(round_stochastically(odd, keys[0]), np.float32), odd)


def test_rounding_depends_on_step_and_path_only() -> None:
    params = {"a": jnp.ones(512, jnp.bfloat16), "b": jnp.ones(512, jnp.bfloat16)}
    change = jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1e-3), params)
    link = rounded("stochastic")
    first, state = link.update(change, link.init(params), params)
    again, _ = link.update(change, link.init(params), params)
    later, _ = link.update(change, state, params)
    assert np.array_equal(first["a"], again["a"])
    assert not np.array_equal(first["a"], first["b"]) and not np.array_equal(first["a"], later["a"])
    alone, _ = link.update({"a": change["a"]}, link.init({"a": params["a"]}), {"a": params["a"]})
    assert np.array_equal(first["a"], alone["a"])


def test_parameters_that_cannot_train_are_refused() -> None:
    message = 'parameter layer/kernel trains in bfloat16, .* set model.param_dtype="float32", or optimizer.rounding='
    with pytest.raises(InputError, match=message):
        init_state(weights("bfloat16"), make_optimizer(CONFIG, optax.constant_schedule(RATE)), ("",))
    with pytest.raises(InputError, match="trains in float16"):
        check_master(weights("float16"), "stochastic")
    mixed = {"frozen": jnp.ones(3, jnp.bfloat16), "trains": jnp.ones(3)}
    init_state(mixed, make_optimizer(CONFIG, optax.constant_schedule(RATE)), ("trains",))  # frozen ones may be coarse
