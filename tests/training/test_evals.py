"""Evaluation while a stage trains: exact means over a set, one line for each evaluation, the best model is kept."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from stub_training import Distance, Stopped, Stopping, StubData, points, stub_recipe, stub_stage
from stub_training import loaded as stub_loaded
from toy_pairs import same
from toy_training import MODEL, ToyData, ToyRun, loaded, unlike_halves

from fac_jax.batching.loaded import Loaded
from fac_jax.checkpoint.export import load_params
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.evals import BEST, EvalBatches, EvalConfig, Evaluation, Evaluator, read_evals
from fac_jax.training.metrics import read_curve
from fac_jax.training.run_recipe import run_recipe
from fac_jax.training.step import Objective, bind
from fac_jax.types import InputError, Params


def distance() -> Objective:
    return bind(Distance(), FunAudioChat(MODEL))


def held_out(*sizes: int) -> EvalBatches:
    """Batches of points that no stage trains on, with so many rows each."""
    return lambda: (stub_loaded(points(100 + number, rows)) for number, rows in enumerate(sizes))


def test_the_loss_of_batches_is_that_of_one_batch_with_all_rows(toy_params: Params) -> None:
    """Their numbers of labels differ, so that a mean of the batches' means would be another."""
    whole, halves = unlike_halves()
    objective = bind(Sft(ctc_weight=0.5), FunAudioChat(MODEL))
    sets = {"whole": lambda: [loaded(whole)], "halves": lambda: [loaded(half) for half in halves]}
    found = Evaluator(objective, sets)(toy_params)
    names = {name.removeprefix("whole/") for name in found if name.startswith("whole/")}
    assert {"loss", "text_loss", "text_accuracy", "speech_loss", "speech_accuracy", "ctc_loss"} <= names
    for name in names:
        np.testing.assert_allclose(found[f"halves/{name}"], found[f"whole/{name}"], rtol=1e-5, err_msg=name)
    assert found["loss"] == pytest.approx((found["whole/loss"] + found["halves/loss"]) / 2)
    half = Evaluator(objective, {"one": sets["halves"]}, batches=1)(toy_params)
    assert abs(half["one/loss"] - found["whole/loss"]) > 0.01 * found["whole/loss"]


def test_no_more_batches_are_made_than_asked_for() -> None:
    made: list[int] = []

    def batches() -> Iterator[Loaded]:
        for number in range(9):
            made.append(number)
            yield stub_loaded(points(number))

    params = stub_recipe().init_params(jax.random.key(0))
    Evaluator(distance(), {"set": batches}, batches=2)(params)
    assert max(made) <= 2
    assert len(set(Evaluator(distance(), {"a": batches, "b": batches})(params).values())) == 1


@pytest.fixture
def workdir(tmp_path: Any) -> epath.Path:
    return epath.Path(tmp_path)


SETS = {"near": held_out(3, 2), "far": held_out(4)}
STAGE = stub_stage(steps=10, checkpoint_every=3)
EVERY = EvalConfig(every=4, best="near/loss")


def run(workdir: epath.Path, data: Callable[[], ToyData] = StubData, evals: EvalConfig = EVERY) -> epath.Path:
    run_recipe(stub_recipe(STAGE, evals=evals), workdir, ToyRun(lambda _: data(), SETS), {})
    return workdir / STAGE.name


def test_a_stage_is_evaluated_as_it_trains_and_after_its_last_step(workdir: epath.Path) -> None:
    directory = run(workdir)
    lines = read_evals(directory)
    assert [line["step"] for line in lines] == [4, 8, 10]
    assert all(line["loss"] == pytest.approx((line["near/loss"] + line["far/loss"]) / 2) for line in lines)
    final = Evaluator(distance(), SETS)(load_params(directory)[0])
    assert lines[-1] == {"step": 10, **final}
    assert final["near/distance"] == final["near/loss"] < lines[0]["near/loss"]
    run(workdir / "without", evals=EvalConfig())
    assert read_evals(workdir / "without" / STAGE.name) == []
    assert read_curve(workdir / "without" / STAGE.name) == read_curve(directory)


def evaluation(directory: epath.Path, config: EvalConfig) -> Evaluation:
    def export(folder: epath.Path, params: Params) -> None:
        folder.mkdir(parents=True)
        np.savez(folder / "params.npz", **{name: next(iter(tree.values())) for name, tree in params.items()})

    return Evaluation(config, Evaluator(distance(), SETS), directory, export)


def moved(by: float) -> Params:
    """Parameters whose loss grows with their distance from those that fit exactly."""
    fit = {
        "encoder": {"kernel": np.array([[1, 0], [-1, 1], [0, -1]], np.float32)},
        "backbone": {"kernel": np.eye(2, dtype=np.float32)},
        "head": {"bias": np.ones(2, np.float32)},
    }
    return {**fit, "head": {"bias": fit["head"]["bias"] + np.float32(by)}}


@pytest.mark.parametrize(("mode", "order"), [("min", [3.0, 1.0, 2.0]), ("max", [1.0, 3.0, 2.0])])
def test_the_best_model_is_kept(workdir: epath.Path, mode: Any, order: list[float]) -> None:
    evaluate = evaluation(workdir, EvalConfig(every=1, best="near/loss", mode=mode))
    kept = []
    for step, by in enumerate(order, 1):
        evaluate(step, moved(by), None)
        kept.append(float(np.load(workdir / BEST / "params.npz")["head"][0]) - 1)
        assert {path.name for path in workdir.iterdir()} == {"evals.jsonl", BEST}
    assert kept == [order[0], order[1], order[1]]


def test_the_best_model_of_a_run_is_the_one_of_its_line(workdir: epath.Path) -> None:
    """By a metric that grows, so that the best model is not the last one."""
    directory = run(workdir, evals=EvalConfig(every=4, best="far/loss", mode="max"))
    lines = read_evals(directory)
    best = max(lines, key=lambda line: line["far/loss"])
    assert best["step"] < STAGE.steps
    found = Evaluator(distance(), SETS)(load_params(directory / BEST)[0])
    assert {"step": best["step"], **found} == best


def test_an_unknown_best_metric_is_refused(workdir: epath.Path) -> None:
    with pytest.raises(InputError, match="evals.best is 'nearest/loss'; the metrics are loss, near/loss"):
        run(workdir, evals=EvalConfig(every=4, best="nearest/loss"))


class Signalled(StubData):
    """Gets a SIGTERM while a batch is made."""

    def make(self, number: int) -> Loaded:
        if number == 3:  # the batch of step 4, after which the stage is evaluated
            os.kill(os.getpid(), signal.SIGTERM)
        return super().make(number)


@pytest.mark.parametrize(
    ("data", "error", "evaluated"),
    [pytest.param(Signalled, KeyboardInterrupt, [], marks=pytest.mark.slow), (lambda: Stopping(5), Stopped, [4])],
    ids=["stopped at an evaluation", "crashed after one, before its checkpoint"],
)
def test_a_resumed_run_has_each_evaluation_once(
    workdir: epath.Path, data: Callable[[], ToyData], error: type[BaseException], evaluated: list[int]
) -> None:
    whole = run(workdir / "whole")
    with pytest.raises(error):
        run(workdir / "stopped", data)
    stopped = workdir / "stopped" / STAGE.name
    assert [line["step"] for line in read_evals(stopped)] == evaluated
    run(workdir / "stopped")
    assert read_evals(stopped) == read_evals(whole)
    assert read_curve(stopped) == read_curve(whole)
    same(*(load_params(one / BEST)[0] for one in (whole, stopped)))
