"""Stages as data: starts, merges before a stage, averaged parameters, frozen references; refusals."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from filelock import FileLock
from stub_training import Distance, Stopping, StubData, points, stub_recipe, stub_stage, stub_warmup
from toy_pairs import pairs_of, same
from toy_training import MODEL, ToyData, ToyRun, loaded, stage

from fac_jax.batching.loaded import Loaded
from fac_jax.checkpoint.export import load_params
from fac_jax.losses import Preference
from fac_jax.training.merge import merge
from fac_jax.training.mesh_data import Data
from fac_jax.training.metrics import read_curve
from fac_jax.training.optimizer import OptimizerConfig
from fac_jax.training.recipe import Recipe
from fac_jax.training.run_recipe import run_recipe
from fac_jax.training.stage import MergeConfig, StageConfig
from fac_jax.types import InputError


@pytest.fixture
def workdir(tmp_path: Any) -> epath.Path:
    return epath.Path(tmp_path)


def run(workdir: epath.Path, *stages: StageConfig, make: Callable[[StageConfig], Data] = lambda _: StubData()) -> None:
    run_recipe(stub_recipe(*stages), workdir, ToyRun(make), {})


def test_a_stage_starts_from_the_model_before_it_and_trains_what_it_is_to(workdir: epath.Path) -> None:
    run(workdir, stub_warmup("a"), stub_warmup("b"))
    a, b = (load_params(workdir / name)[0] for name in "ab")
    start = jax.device_get(jax.jit(stub_recipe().init_params)(jax.random.key(0)))
    for name in ("backbone", "head"):
        same(a[name], start[name])
        same(b[name], start[name])
    assert not np.array_equal(a["encoder"]["kernel"], start["encoder"]["kernel"])
    loss, _ = Distance()(None, a, points(0))
    assert read_curve(workdir / "b")[0]["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_stage_may_start_from_an_earlier_one(workdir: epath.Path) -> None:
    run(workdir, stub_warmup("a"), stub_warmup("b"), stub_warmup("c", start_from="a"))
    b, c = (json.loads((workdir / name / "metrics.jsonl").read_text().splitlines()[0]) for name in "bc")
    assert b == c


def test_a_recipe_may_start_from_a_finished_model(workdir: epath.Path) -> None:
    run(workdir / "one", stub_warmup("a"), stub_warmup("b"))
    initial = workdir / "one" / "a" / "model"
    run_recipe(stub_recipe(stub_warmup("b"), initial=initial), workdir / "two", ToyRun(lambda _: StubData()), {})
    assert read_curve(workdir / "one" / "b") == read_curve(workdir / "two" / "b")


def test_two_processes_do_not_train_in_one_workdir(workdir: epath.Path) -> None:
    with FileLock(workdir / "training.lock"), pytest.raises(InputError, match="another process trains there"):
        run(workdir)
    run(workdir)  # the lock went with its holder


def test_finished_stages_are_skipped(workdir: epath.Path) -> None:
    run(workdir)
    before = {name: (workdir / name / "metrics.jsonl").read_bytes() for name in ("warmup", "joint")}
    run(workdir, make=lambda _: pytest.fail("no stage is left to run"))
    assert {name: (workdir / name / "metrics.jsonl").read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((stub_stage("a"), stub_stage("a")), "two stages have the same name, a"),
        ((stub_stage("a", start_from="b"), stub_stage("b")), "stage a starts from b, which is no stage before it"),
        ((stub_stage("a", merge=MergeConfig("b")), stub_stage("b")), "stage a merges with b, which is no stage before"),
        (
            (stub_stage("a", merge=MergeConfig()),),
            "merges with the model that the recipe starts from, and there is none",
        ),
        ((stub_stage("a", trainable=("vocoder/",)),), '"vocoder/" matches no parameter'),
    ],
)
def test_wrong_recipes_are_refused(workdir: epath.Path, stages: tuple[StageConfig, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(workdir, *stages)


def test_a_stage_of_no_steps_is_the_merge_of_two_models(workdir: epath.Path) -> None:
    alphas = {"backbone/": 0.25, "encoder/": 0.5}
    run(workdir, stub_warmup("a"), stub_stage("b", steps=3), StageConfig("c", 0, merge=MergeConfig("a", alphas)))
    a, b, c = (load_params(workdir / name)[0] for name in "abc")
    same(c, merge(b, a, alphas))
    assert not np.array_equal(c["backbone"]["kernel"], b["backbone"]["kernel"])
    assert read_curve(workdir / "c") == []


def test_a_stage_may_merge_with_the_model_that_the_recipe_starts_from(workdir: epath.Path) -> None:
    run(workdir / "before", stub_stage("a"))
    alphas = {"backbone/": 0.25}
    stages = (stub_stage("b", steps=3), StageConfig("c", 0, merge=MergeConfig(alphas=alphas)))
    recipe = dataclasses.replace(stub_recipe(*stages), initial=workdir / "before" / "a" / "model")
    run_recipe(recipe, workdir, ToyRun(lambda _: StubData()), {})
    a, b, c = (load_params(folder)[0] for folder in (workdir / "before", workdir / "b", workdir / "c"))
    same(c, merge(b, a, alphas))
    assert not np.array_equal(a["backbone"]["kernel"], b["backbone"]["kernel"])


def test_a_merge_comes_before_the_first_step_and_is_resumed_bit_for_bit(workdir: epath.Path) -> None:
    last = stub_stage("c", steps=4, checkpoint_every=2, merge=MergeConfig("a"))
    stages = (stub_warmup("a"), stub_stage("b", steps=3), last)
    run(workdir / "whole", *stages)
    with pytest.raises(KeyboardInterrupt):
        stopping = lambda stage: Stopping(3, KeyboardInterrupt) if stage.name == "c" else StubData()  # noqa: E731
        run(workdir / "stopped", *stages, make=stopping)
    assert not (workdir / "stopped" / "c" / "model").exists()
    run(workdir / "stopped", *stages)
    same(*(load_params(workdir / name)[0] for name in ("whole", "stopped")))
    assert read_curve(workdir / "whole" / "c") == read_curve(workdir / "stopped" / "c")


def test_the_average_of_the_parameters_becomes_the_model(workdir: epath.Path) -> None:
    decay = 0.6
    what = stub_warmup(steps=3, checkpoint_every=1, keep=3, optimizer=OptimizerConfig(peak=1e-2, average=decay))
    run(workdir, what)
    start = jax.device_get(jax.jit(stub_recipe().init_params)(jax.random.key(what.seed)))
    expected, model = start["encoder"], load_params(workdir)[0]
    for step in (1, 2, 3):
        seen = load_params(workdir / what.name / "checkpoints" / str(step))[0]["encoder"]
        expected = jax.tree.map(lambda a, p: decay * a + (1 - decay) * p, expected, seen)
    np.testing.assert_allclose(model["encoder"]["kernel"], expected["kernel"], rtol=1e-5, atol=1e-7)
    assert not np.array_equal(model["encoder"]["kernel"], seen["kernel"])
    same(model["backbone"], start["backbone"])


def test_a_stage_resumes_with_its_frozen_reference(workdir: epath.Path) -> None:
    stages = (stub_warmup("a"), stub_stage("b", steps=6, loss=Distance("frozen"), checkpoint_every=2))
    run(workdir / "whole", *stages)
    with pytest.raises(KeyboardInterrupt):
        stopping = lambda stage: Stopping(4, KeyboardInterrupt) if stage.name == "b" else StubData()  # noqa: E731
        run(workdir / "stopped", *stages, make=stopping)
    run(workdir / "stopped", *stages)
    curve = read_curve(workdir / "whole" / "b")
    assert curve == read_curve(workdir / "stopped" / "b")
    assert curve[0]["moved"] == 0 and curve[-1]["moved"] > 0
    same(*(load_params(workdir / name)[0] for name in ("whole", "stopped")))


class PairData(ToyData):
    def make(self, number: int) -> Loaded:
        return loaded(pairs_of(number % 2), number)


@pytest.mark.slow
def test_a_preference_is_learned_from_a_frozen_reference(workdir: epath.Path) -> None:
    loss = Preference(beta=0.5, reference="frozen")
    what = stage("dpo", steps=12, loss=loss, optimizer=OptimizerConfig(peak=3e-3, warmup=0.0))
    run_recipe(Recipe(MODEL, (what,)), workdir, ToyRun(lambda _: PairData()), {})
    curve = read_curve(workdir / "dpo")
    assert curve[0]["preference_loss"] == pytest.approx(np.log(2), rel=1e-5)
    assert curve[0]["robustness/margin"] == pytest.approx(0, abs=1e-4)
    assert curve[-1]["preference_loss"] < 0.5 * curve[0]["preference_loss"]
    assert curve[-1]["robustness/accuracy"] == curve[-1]["empathy/accuracy"] == 1.0
    assert curve[-1]["empathy/margin"] > 0 and curve[-1]["instruction/loss"] == 0
