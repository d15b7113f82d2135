"""Stages as data: a merge before a stage, averaged parameters, micro-batches, preferences with a frozen reference."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from toy_pairs import pairs_of, same
from toy_training import MODEL, ToyData, ToyLoaded, make_batch, stage, warmup

from fac_jax.checkpoint.export import load_params
from fac_jax.losses import Ctc, Preference, Sft
from fac_jax.losses.base import Metrics
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.training.merge import merge
from fac_jax.training.metrics import read_curve
from fac_jax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule
from fac_jax.training.recipe import Recipe, run_recipe
from fac_jax.training.stage import MergeConfig, StageConfig
from fac_jax.training.state import TrainState, init_state
from fac_jax.training.step import bind, make_step
from fac_jax.types import IGNORE, Batch, InputError, Params


@pytest.fixture(scope="module")
def params() -> Params:
    return jax.jit(lambda: init_params(MODEL, jax.random.key(0)))()


class PairData(ToyData):
    def __next__(self) -> Any:
        loaded = super().__next__()
        return dataclasses.replace(loaded, batch=pairs_of(self._next % 2))


def run(workdir: Path, *stages: StageConfig, data: type[ToyData] = ToyData) -> Path:
    return run_recipe(Recipe(MODEL, stages), workdir, lambda *_: data(), {})


def test_a_stage_of_no_steps_is_the_merge_of_two_models(tmp_path: Path) -> None:
    alphas = {"backbone/": 0.25, "encoder/": 0.5}
    run(tmp_path, warmup("a"), stage("b", steps=3), StageConfig("c", 0, merge=MergeConfig("a", alphas)))
    a, b, c = (load_params(tmp_path / name)[0] for name in "abc")
    same(c, merge(b, a, alphas))
    assert read_curve(tmp_path / "c") == []


def test_a_merge_comes_before_the_first_step_and_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    stages = (warmup("a"), stage("b", steps=3), stage("c", steps=4, checkpoint_every=2, merge=MergeConfig("a")))
    run(tmp_path / "whole", *stages)

    class Stopping(ToyData):
        def __next__(self) -> ToyLoaded:
            if self._next == 3:
                raise KeyboardInterrupt
            return super().__next__()

    def make_data(stage: StageConfig, *_: Any) -> ToyData:
        return Stopping() if stage.name == "c" else ToyData()

    with pytest.raises(KeyboardInterrupt):
        run_recipe(Recipe(MODEL, stages), tmp_path / "stopped", make_data, {})
    assert not (tmp_path / "stopped" / "c" / "model").exists()
    run(tmp_path / "stopped", *stages)
    same(*(load_params(tmp_path / name)[0] for name in ("whole", "stopped")))
    assert read_curve(tmp_path / "whole" / "c") == read_curve(tmp_path / "stopped" / "c")


def test_a_merge_with_a_later_stage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stage a merges with b, which is no stage before it"):
        run(tmp_path, stage("a", merge=MergeConfig("b")), stage("b"))


def one_step(what: StageConfig, params: Params, batch: Any) -> tuple[TrainState, Metrics]:
    schedule = make_schedule(what.optimizer, what.steps)
    optimizer = make_optimizer(what.optimizer, schedule)
    step = make_step(bind(what.loss, FunAudioChat(MODEL)), optimizer, schedule, what.trainable, what.micro_batches)
    return step(init_state(jax.tree.map(np.copy, params), optimizer, what.trainable), batch)


def unlike_halves() -> tuple[Batch, Any]:
    """Four rows with unlike numbers of labels, and the same as two micro-batches."""
    halves = [make_batch(seed, rows=2) for seed in (1, 2)]
    few = np.where(np.arange(halves[0].labels.shape[1]) < 9, halves[0].labels, IGNORE)
    fine = np.where((few != IGNORE)[..., None], halves[0].speech_labels, IGNORE)
    halves[0] = halves[0].replace(labels=few, speech_labels=fine)
    shift = 2 * MODEL.audio.frames
    moved = halves[1].replace(frame_index=np.where(halves[1].frame_index < 0, -1, halves[1].frame_index + shift))
    whole = jax.tree.map(lambda *leaves: np.concatenate(leaves), halves[0], moved)
    return whole, jax.tree.map(lambda *leaves: np.stack(leaves), *halves)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": Sft(ctc_weight=0.5)},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"loss": Ctc(), "trainable": ("encoder/",)}, marks=pytest.mark.slow),
    ],
)
def test_micro_batches_are_exactly_their_whole(params: Params, changes: dict[str, Any]) -> None:
    whole, parts = unlike_halves()
    one, ours = one_step(stage(**changes), params, whole)
    two, theirs = one_step(stage(**changes, micro_batches=2), params, parts)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, err_msg=name)
    # Adam's first update is the sign of the gradient, which rounding may turn where it is all but zero.
    moments = [jax.tree.leaves(state.opt_state[1][0].mu) for state in (one, two)]
    for a, b in zip(*moments, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_micro_batches_of_pairs_are_exactly_their_whole(params: Params) -> None:
    pairs = [pairs_of(0), pairs_of(1)]
    pairs[1] = dataclasses.replace(pairs[1], tasks=np.array([[0], [-1]], np.int32))
    shift = 2 * MODEL.audio.frames
    index = pairs[1].batch.frame_index
    moved = pairs[1].batch.replace(frame_index=np.where(index < 0, -1, index + shift))
    whole = jax.tree.map(lambda *x: np.concatenate(x), pairs[0], dataclasses.replace(pairs[1], batch=moved))
    what = stage(loss=Preference(text_anchor=1.0, speech_anchor=0.5))
    ours = one_step(what, params, whole)[1]
    theirs = one_step(dataclasses.replace(what, micro_batches=2), params, jax.tree.map(lambda *x: np.stack(x), *pairs))[
        1
    ]
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=2e-5, atol=1e-5, err_msg=name)


def test_ctc_is_added_to_the_other_losses_with_its_weight(params: Params) -> None:
    batch, model = make_batch(0), FunAudioChat(MODEL)
    plain, both = (jax.jit(lambda p, w=w: Sft(ctc_weight=w)(model, p, batch))(params) for w in (0.0, 0.3))
    alone = one_step(stage(loss=Ctc()), params, batch)[1]["ctc_loss"]
    np.testing.assert_allclose(both[1]["ctc_loss"], alone, rtol=1e-5)
    np.testing.assert_allclose(both[0], plain[0] + 0.3 * alone, rtol=1e-5)
    assert "ctc_loss" not in plain[1]


def test_the_average_of_the_parameters_becomes_the_model(tmp_path: Path) -> None:
    decay = 0.6
    what = warmup(steps=3, checkpoint_every=1, keep=3, optimizer=OptimizerConfig(peak=1e-2, average=decay))
    run(tmp_path, what)
    start = jax.jit(lambda: init_params(MODEL, jax.random.key(what.seed)))()
    expected, model = start["encoder"], load_params(tmp_path)[0]
    for step in (1, 2, 3):
        seen = load_params(tmp_path / what.name / "checkpoints" / str(step))[0]["encoder"]
        expected = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, expected, seen)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), model["encoder"], expected)
    assert not np.array_equal(model["encoder"]["proj"]["kernel"], seen["proj"]["kernel"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), model["backbone"], start["backbone"])


def test_a_frozen_reference_stays_where_the_stage_starts(tmp_path: Path) -> None:
    loss = Preference(beta=0.5, reference="frozen")
    optimizer = OptimizerConfig(peak=3e-3, warmup=0.0)
    what = stage("dpo", steps=12, loss=loss, optimizer=optimizer)
    run(tmp_path, what, data=PairData)
    curve = read_curve(tmp_path / "dpo")
    assert curve[0]["preference_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert curve[0]["robustness/margin"] == pytest.approx(0, abs=1e-4)
    assert curve[-1]["preference_loss"] < 0.5 * curve[0]["preference_loss"]
    assert curve[-1]["robustness/accuracy"] == curve[-1]["empathy/accuracy"] == 1.0
    assert curve[-1]["empathy/margin"] > 0 and curve[-1]["instruction/loss"] == 0


def test_a_preference_stage_resumes_with_its_frozen_reference(tmp_path: Path) -> None:
    what = stage("dpo", steps=6, loss=Preference(reference="frozen"), checkpoint_every=2)
    run(tmp_path / "whole", what, data=PairData)

    class Stopping(PairData):
        def __next__(self) -> Any:
            if self._next == 4:
                raise KeyboardInterrupt
            return super().__next__()

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", what, data=Stopping)
    run(tmp_path / "stopped", what, data=PairData)
    assert read_curve(tmp_path / "whole" / "dpo") == read_curve(tmp_path / "stopped" / "dpo")
    same(*(load_params(tmp_path / name)[0] for name in ("whole", "stopped")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": -1}, "stages.joint.steps is -1; it must be at least 0"),
        ({"checkpoint_every": 0}, "stages.joint.checkpoint_every is 0; it must be at least 1"),
        ({"keep": 0}, "stages.joint.keep is 0; it must be at least 1"),
        ({"micro_batches": 0}, "stages.joint.micro_batches is 0; it must be at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_that_no_stage_can_have_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stage(**changes)
