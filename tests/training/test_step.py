"""The step: micro-batches are exactly their whole, for every loss."""

import dataclasses
import re
from typing import Any

import jax
import numpy as np
import optax
import pytest
from toy_pairs import pairs_of
from toy_training import MODEL, make_batch, stage, unlike_halves

from fac_jax.losses import Ctc, Preference, Sft
from fac_jax.losses.base import Metrics
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.optimizer import make_optimizer, make_schedule
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import Step, TrainState, bind, init_state, make_step
from fac_jax.types import Params


def step_of(what: StageConfig) -> tuple[Step, optax.GradientTransformation]:
    schedule = make_schedule(what.optimizer, what.steps)
    optimizer = make_optimizer(what.optimizer, schedule)
    objective = bind(what.loss, FunAudioChat(MODEL), precision=what.precision)
    return make_step(objective, optimizer, schedule, what.patterns, what.micro_batches), optimizer


def one_step(what: StageConfig, params: Params, batch: Any) -> tuple[TrainState, Metrics]:
    step, optimizer = step_of(what)
    return step(init_state(jax.tree.map(np.copy, params), optimizer, what.patterns), batch)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": Sft(ctc_weight=0.5)},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"loss": Ctc(), "trainable": ("encoder/",)}, marks=pytest.mark.slow),
    ],
)
def test_micro_batches_are_exactly_their_whole(toy_params: Params, changes: dict[str, Any]) -> None:
    whole, halves = unlike_halves()
    parts = jax.tree.map(lambda *leaves: np.stack(leaves), *halves)
    one, ours = one_step(stage(**changes), toy_params, whole)
    two, theirs = one_step(stage(**changes, micro_batches=2), toy_params, parts)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, err_msg=name)
    # Adam's first update is the sign of the gradient, which rounding may turn where it is all but zero.
    moments = [jax.tree.leaves(state.opt_state[1][0].mu) for state in (one, two)]
    for a, b in zip(*moments, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow  # what counts in a batch of pairs is tested with the losses
def test_micro_batches_of_pairs_are_exactly_their_whole(toy_params: Params) -> None:
    pairs = [pairs_of(0), pairs_of(1)]
    pairs[1] = dataclasses.replace(pairs[1], tasks=np.array([[0], [-1]], np.int32))
    shift = 2 * MODEL.audio.frames
    index = pairs[1].batch.frame_index
    moved = pairs[1].batch.replace(frame_index=np.where(index < 0, -1, index + shift))
    whole = jax.tree.map(lambda *x: np.concatenate(x), pairs[0], dataclasses.replace(pairs[1], batch=moved))
    what = stage(loss=Preference(text_anchor=1.0, speech_anchor=0.5))
    ours = one_step(what, toy_params, whole)[1]
    parts = jax.tree.map(lambda *x: np.stack(x), *pairs)
    theirs = one_step(dataclasses.replace(what, micro_batches=2), toy_params, parts)[1]
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=1e-5, err_msg=name)


def test_ctc_is_added_to_the_other_losses_with_its_weight(toy_params: Params) -> None:
    batch, model = make_batch(0), FunAudioChat(MODEL)
    plain, both = (jax.jit(lambda p, w=w: Sft(ctc_weight=w)(model, p, batch))(toy_params) for w in (0.0, 0.3))
    alone = one_step(stage(loss=Ctc()), toy_params, batch)[1]["ctc_loss"]
    np.testing.assert_allclose(both[1]["ctc_loss"], alone, rtol=1e-5)
    np.testing.assert_allclose(both[0], plain[0] + 0.3 * alone, rtol=1e-5)
    assert "ctc_loss" not in plain[1]


def test_every_product_of_a_step_has_the_precision_of_its_stage(toy_params: Params) -> None:
    """Those of the backward pass too."""
    step, optimizer = step_of(stage(precision="highest"))
    state = jax.eval_shape(lambda: init_state(toy_params, optimizer, ("",)))
    program = str(step.trace(state, make_batch(0)).jaxpr)
    products = len(re.findall(r"dot_general\[|conv_general_dilated\[", program))
    asked = len(re.findall(r"precision=\(Precision.HIGHEST, Precision.HIGHEST\)", program))
    assert asked == products > 50
