"""Schedule, freezing, weight decay, clipping, values that no optimizer can have."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fac_jax.losses.base import Counts, Metrics
from fac_jax.training.optimizer import OptimizerConfig, decays, make_optimizer, make_schedule
from fac_jax.training.step import Objective, TrainState, init_state, make_step
from fac_jax.training.trainable import join, split
from fac_jax.types import InputError, Params

CONFIG = OptimizerConfig(peak=1e-2, floor=1e-3, warmup=0.2, weight_decay=0.5, clip_norm=0.1)


def params() -> Params:
    return {
        "encoder": {"proj": {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}},
        "backbone": {"embed": {"embedding": jnp.ones((4, 2))}, "layers_0": {"norm": {"scale": jnp.ones((2, 2))}}},
        "backbone_twin": {"kernel": jnp.ones(2)},
    }


def distance(tree: Params, batch: jax.Array, counts: Counts, reference: Params | None) -> tuple[jax.Array, Metrics]:
    return sum(jnp.sum((leaf - batch) ** 2) for leaf in jax.tree.leaves(tree)) / counts["all"], {}


OBJECTIVE = Objective(lambda batch: {"all": jnp.ones(())}, distance)


def run(patterns: tuple[str, ...], steps: int = 3, config: OptimizerConfig = CONFIG) -> tuple[TrainState, Metrics]:
    schedule = make_schedule(config, 20)
    optimizer = make_optimizer(config, schedule)
    step = make_step(OBJECTIVE, optimizer, schedule, patterns)
    state, metrics = init_state(params(), optimizer, patterns), {}
    for _ in range(steps):
        state, metrics = step(state, jnp.zeros(()))
    return state, metrics


def test_schedule_climbs_to_its_peak_and_ends_at_its_floor() -> None:
    rates = [float(make_schedule(CONFIG, 21)(k)) for k in range(21)]
    warmup = 4
    np.testing.assert_allclose(rates[: warmup + 1], 1e-2 * np.arange(1, 6) / 5, rtol=1e-6)
    middle = warmup + (20 - warmup) // 2
    np.testing.assert_allclose(rates[middle], (1e-2 + 1e-3) / 2, rtol=1e-5)
    np.testing.assert_allclose(rates[-1], 1e-3, rtol=1e-5)
    assert np.all(np.diff(rates[warmup:]) < 0)


@pytest.mark.parametrize("steps", [1, 2])
def test_shortest_schedules_are_finite(steps: int) -> None:
    rates = [float(make_schedule(CONFIG, steps)(k)) for k in range(steps)]
    assert rates[0] == pytest.approx(1e-2) and all(rate * (1 + 1e-5) >= 1e-3 for rate in rates)


def test_step_uses_the_rate_it_reports() -> None:
    plain = OptimizerConfig(peak=1e-2, floor=1e-3, warmup=0.2, weight_decay=0.0, clip_norm=1e9)
    before, first = run(("",), 1, plain)
    np.testing.assert_allclose(first["learning_rate"], 1e-2 / 5, rtol=1e-6)
    # Adam's first update of a constant gradient is the learning rate itself.
    np.testing.assert_allclose(before.params["backbone_twin"]["kernel"], 1 - 1e-2 / 5, rtol=1e-5)
    assert int(before.step) == 1


def test_frozen_parameters_stay_bitwise_and_have_no_optimizer_state() -> None:
    state, _ = run(("encoder/", "backbone/embed"))
    fresh = params()
    for path in (("backbone", "layers_0", "norm", "scale"), ("backbone_twin", "kernel")):
        ours, theirs = state.params, fresh
        for key in path:
            ours, theirs = ours[key], theirs[key]
        assert np.array_equal(ours, theirs)
    assert not np.allclose(state.params["encoder"]["proj"]["kernel"], 1.0)
    assert not np.allclose(state.params["backbone"]["embed"]["embedding"], 1.0)
    moments = [leaf.shape for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sorted(moments) == sorted(2 * [(2, 3), (3,), (4, 2)])


def test_split_and_join_are_inverse() -> None:
    tree = params()
    trainable, frozen = split(tree, ("encoder/.*kernel", "backbone/"))
    assert set(trainable) == {"encoder", "backbone"} and set(frozen) == {"encoder", "backbone_twin"}
    assert jax.tree.structure(join(trainable, frozen)) == jax.tree.structure(tree)


def test_pattern_that_matches_nothing_is_refused() -> None:
    with pytest.raises(InputError, match='"encodr/" matches no parameter; the tree has backbone, .*, encoder'):
        split(params(), ("encodr/",))


def test_norms_biases_and_embeddings_do_not_decay() -> None:
    flat = jax.tree_util.tree_leaves_with_path(decays(params(), CONFIG.no_decay))
    kept = {jax.tree_util.keystr(path, simple=True, separator="/") for path, decay in flat if decay}
    assert kept == {"encoder/proj/kernel", "backbone_twin/kernel"}


def test_gradient_is_clipped_over_the_trainable_ones() -> None:
    gradient = {"a": jnp.full(4, 3.0), "b": jnp.full(4, 4.0)}
    optimizer = make_optimizer(CONFIG, optax.constant_schedule(1.0))
    _, state = optimizer.update(gradient, optimizer.init(gradient), gradient)
    first_moment = next(s.mu for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu"))
    np.testing.assert_allclose(optax.tree.norm(first_moment), 0.1 * (1 - CONFIG.b1), rtol=1e-5)
    _, metrics = run(("backbone_twin",), 1)
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt(8.0), rtol=1e-6)  # of two parameters, before clipping


def floats(state: TrainState) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(state.opt_state) if jnp.issubdtype(leaf.dtype, jnp.floating)}


def test_moments_are_kept_in_their_own_dtype() -> None:
    """Whatever that of the parameters; an update is the same but for the rounding of the moments."""
    exact, _ = run(("",))
    assert floats(exact) == {"float32"}
    rounded, _ = run(("",), config=dataclasses.replace(CONFIG, moments="bfloat16"))
    assert floats(rounded) == {"bfloat16"}
    for a, b in zip(jax.tree.leaves(exact.params), jax.tree.leaves(rounded.params), strict=True):
        assert b.dtype == jnp.float32 and not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, atol=5e-4)
    optimizer = make_optimizer(dataclasses.replace(CONFIG, rounding="stochastic"), optax.constant_schedule(1e-3))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params())
    assert floats(init_state(half, optimizer, ("",))) == {"float32"}


def test_adafactor_learns_with_less_memory() -> None:
    wide = {"backbone": {"kernel": jnp.ones((256, 512)), "norm": {"scale": jnp.ones(256)}}}
    config = dataclasses.replace(CONFIG, kind="adafactor", weight_decay=0.0)
    schedule = make_schedule(config, 20)
    optimizer = make_optimizer(config, schedule)
    step = make_step(OBJECTIVE, optimizer, schedule, ("",))
    state = init_state(wide, optimizer, ("",))
    assert sum(leaf.size for leaf in jax.tree.leaves(state.opt_state)) < 0.02 * 256 * 512
    losses = []
    for _ in range(5):
        state, metrics = step(state, jnp.zeros(()))
        losses.append(float(metrics["loss"]))
    assert all(later < sooner for sooner, later in zip(losses, losses[1:], strict=False))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"peak": -1.0}, "optimizer.peak is -1.0; it is at least 0"),
        ({"floor": 1.0}, "optimizer.floor is 1.0; it is from 0 to the peak, 0.01"),
        ({"warmup": 5.0}, "optimizer.warmup is 5.0; it is a fraction of the steps"),
        ({"b2": 1.0}, "optimizer.b2 is 1.0; it is at least 0 and less than 1"),
        ({"clip_norm": 0.0}, "optimizer.clip_norm is 0.0; it is more than 0"),
        ({"peak": float("nan")}, "optimizer.peak is nan; it is at least 0"),
        ({"kind": "sgd"}, "optimizer.kind is 'sgd'; it is one of adamw, adafactor"),
        ({"no_decay": "("}, r"optimizer.no_decay is '\(', no regular expression"),
    ],
)
def test_values_that_no_optimizer_can_have_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(CONFIG, **values)


def test_micro_batches_reach_the_clipping_in_float32() -> None:
    """Two equal halves of a gradient: their sum is exact in float32, and not in the bfloat16 of the parameters."""
    config = dataclasses.replace(CONFIG, rounding="stochastic", clip_norm=1e9, weight_decay=0.0)
    schedule = make_schedule(config, 20)
    optimizer = make_optimizer(config, schedule)
    half = {"kernel": jnp.ones(1, jnp.bfloat16)}
    parts = jnp.array([1.0, 2.0**-9])  # each is a bfloat16, their sum is not

    def product(tree: Params, batch: jax.Array, counts: Counts, reference: Params | None) -> tuple[jax.Array, Metrics]:
        return jnp.sum(tree["kernel"] * batch).astype(jnp.float32), {}

    objective = Objective(lambda batch: {"all": jnp.ones(())}, product)
    step = make_step(objective, optimizer, schedule, ("",), micro_batches=2)
    _, metrics = step(init_state(half, optimizer, ("",)), parts)
    assert float(metrics["grad_norm"]) == 1 + 2.0**-9


@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_rates_by_path_scale_what_parameters_move(kind: str) -> None:
    plain = dataclasses.replace(CONFIG, kind=kind)
    factors = ("encoder/proj/bias=0", "encoder/=0.1")
    moved, scaled = (run(("",), 1, dataclasses.replace(plain, rates=rates))[0].params for rates in ((), factors))
    change = jax.tree.map(lambda a, b: (np.asarray(b) - 1) / (np.asarray(a) - 1), moved, scaled)
    np.testing.assert_allclose(change["encoder"]["proj"]["kernel"], 0.1, rtol=1e-3)
    np.testing.assert_array_equal(change["encoder"]["proj"]["bias"], 0.0)  # the first that matches counts
    np.testing.assert_allclose(change["backbone"]["embed"]["embedding"], 1.0)
    with pytest.raises(InputError, match="'head/' matches no parameter that trains"):
        run(("",), 1, dataclasses.replace(plain, rates=("head/=1",)))
