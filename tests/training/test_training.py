"""The loop: learning, resuming, being killed, and stopping at a loss that is not finite."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy_training
from filelock import FileLock
from toy_training import MODEL, ToyData, make_batch, recipe, stage, warmup

from fac_jax import cli
from fac_jax.batching.batch_stats import batch_stats
from fac_jax.checkpoint.export import load_params
from fac_jax.losses import Sft
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.flops import Meter, trainable_paths
from fac_jax.training.interrupt import SIGNALS, deferred_interrupts
from fac_jax.training.metrics import read_curve
from fac_jax.training.recipe import Recipe, run_recipe
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, Params


def run(workdir: Path, what: Recipe | None = None, **data: Any) -> Path:
    made: list[ToyData] = []

    def make(*_: Any) -> ToyData:
        made.append(ToyData(**data))
        return made[-1]

    try:
        return run_recipe(what or recipe(), workdir, make, {})
    finally:
        assert all(one.closed for one in made)


def same_trees(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted")
    run(workdir)
    return workdir


def curves(workdir: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(workdir.glob("*/metrics.jsonl"))}


def test_loss_falls_in_every_stage(uninterrupted: Path, toy_params: Params) -> None:
    ears, joint = (read_curve(uninterrupted / name) for name in ("warmup", "joint"))
    assert [line["step"] for line in ears] == list(range(1, 10))
    assert [line["step"] for line in joint] == list(range(1, 21))
    assert np.mean([line["loss"] for line in ears[-2:]]) < 0.97 * ears[0]["loss"]
    for name in ("text_loss", "speech_loss"):
        assert joint[-1][name] < 0.9 * joint[0][name]
    paths = trainable_paths(toy_params, ("",))
    assert joint[0]["flops"] == Meter(MODEL, stage(), paths).flops(batch_stats(make_batch(0)))
    assert ears[0]["flops"] < joint[0]["flops"]  # the encoder alone
    assert joint[-1]["loss"] == pytest.approx(joint[-1]["text_loss"] + joint[-1]["speech_loss"], rel=1e-6)


def test_a_stage_starts_from_the_model_before_it(uninterrupted: Path, toy_params: Params) -> None:
    start = load_params(uninterrupted / "warmup")[0]
    assert same_trees(start["backbone"], toy_params["backbone"])  # frozen in the warm-up
    assert not same_trees(start["encoder"], toy_params["encoder"])
    loss, _ = jax.jit(lambda p, b: Sft()(FunAudioChat(MODEL), p, b))(start, make_batch(0))
    assert read_curve(uninterrupted / "joint")[0]["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_two_processes_do_not_train_in_one_workdir(tmp_path: Path) -> None:
    with FileLock(tmp_path / "training.lock"), pytest.raises(InputError, match="another process trains there"):
        run(tmp_path)
    run(tmp_path)  # the lock went with its holder


def test_finished_stages_are_skipped(uninterrupted: Path) -> None:
    before = curves(uninterrupted)
    run_recipe(recipe(), uninterrupted, lambda *_: pytest.fail("no stage is left to run"), {})
    assert curves(uninterrupted) == before


class Stopped(Exception):
    """Stands for a crash."""


class Stopping(ToyData):
    """Crashes when a batch is asked for."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self._at = at

    def __next__(self) -> toy_training.ToyLoaded:
        if self._next == self._at:
            raise Stopped
        return super().__next__()


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, uninterrupted: Path) -> None:
    for at in (3, 8):  # in the second stage, before and after its first checkpoint
        with pytest.raises(Stopped):
            run_recipe(recipe(), tmp_path, lambda s, *_, at=at: ToyData() if s.name == "warmup" else Stopping(at), {})
    run(tmp_path)
    assert curves(tmp_path) == curves(uninterrupted)
    assert same_trees(load_params(tmp_path)[0], load_params(uninterrupted)[0])


def program(workdir: Path, *options: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, toy_training.__file__, f"--workdir={workdir}", *options]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_and_started_again_gives_the_same_curve(tmp_path: Path, uninterrupted: Path) -> None:
    process = program(tmp_path, "--pause=0.1")
    wait_for(tmp_path / "joint" / "checkpoints" / "14", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "joint" / "model").exists()
    again = program(tmp_path)
    assert (again.communicate()[1], again.returncode) == ("", 0)
    assert curves(tmp_path) == curves(uninterrupted)
    assert same_trees(load_params(tmp_path)[0], load_params(uninterrupted)[0])


def test_a_terminated_program_saves_and_says_how_to_go_on(tmp_path: Path, uninterrupted: Path) -> None:
    process = program(tmp_path, "--pause=0.2")
    wait_for(tmp_path / "joint" / "checkpoints" / "7", process)
    process.send_signal(signal.SIGTERM)
    told = process.communicate()[1]
    assert told == "terminated; the same command resumes from the last checkpoint\n"
    assert process.returncode == 0
    run(tmp_path)
    assert curves(tmp_path) == curves(uninterrupted)


def test_the_program_stops_at_a_nan_with_one_line(tmp_path: Path) -> None:
    process = program(tmp_path, "--poisoned=9")
    told = process.communicate()[1]
    assert process.returncode == cli.BAD_INPUT
    assert told.startswith("error: stage joint: not finite at step 10 (loss nan") and told.count("\n") == 1
    assert "toy/9/0" in told and str(tmp_path / "joint" / "checkpoints" / "7") in told


def test_an_interrupt_waits_and_a_second_one_does_not(request: pytest.FixtureRequest) -> None:
    for number in SIGNALS:  # a program started in the background may have been told to ignore them
        request.addfinalizer(partial(signal.signal, number, signal.signal(number, signal.default_int_handler)))
    before = [signal.getsignal(number) for number in SIGNALS]
    with deferred_interrupts() as interrupted:
        assert not interrupted()
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupted()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_a_loss_that_is_not_finite_names_step_rows_and_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        run(tmp_path, Recipe(MODEL, (stage(),)), poisoned=2)
    message = str(caught.value)
    assert message.startswith("stage joint: not finite at step 3 (loss nan")
    assert "; rows of its batch: toy/2/0, toy/2/1, toy/2/2; " in message
    assert message.endswith("; last good checkpoint: none")
    assert [line["step"] for line in read_curve(tmp_path / "joint")] == [1, 2]


def test_every_stage_compiles_once(tmp_path: Path) -> None:
    """Compilations of the step, seen by jax's own monitoring: one a run, after a fresh start, a crash and a load."""
    seen: list[str] = []

    def note(event: str, _: float, **about: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and about.get("fun_name") == "jit(step)":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    two = Recipe(MODEL, (warmup("first"), warmup("second")))
    with pytest.raises(Stopped):
        run_recipe(two, tmp_path, lambda *_: Stopping(6), {})
    assert len(seen) == 1
    run(tmp_path, two)
    assert len(seen) == 3


def test_bfloat16_trains_with_float32_parameters(tmp_path: Path) -> None:
    single = Recipe(replace(MODEL, dtype="bfloat16"), (stage(steps=12, loss=Sft(speech_weight=0.0)),))
    params, config = load_params(run(tmp_path, single))
    assert config.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    curve = read_curve(tmp_path / "joint")
    assert curve[-1]["loss"] < 0.9 * curve[0]["loss"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((stage("a"), stage("a")), "stages 0 and 1 have the same name, a"),
        ((stage("a", start_from="b"), stage("b")), "stage a starts from b, which is no stage before it"),
        ((stage("a", trainable=("vocoder/",)),), '"vocoder/" matches no parameter'),
    ],
)
def test_wrong_recipes_are_refused(tmp_path: Path, stages: tuple[StageConfig, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path, Recipe(MODEL, stages))


def test_a_stage_may_start_from_an_earlier_one(tmp_path: Path) -> None:
    run(tmp_path, Recipe(MODEL, (warmup("a"), warmup("b"), warmup("c", start_from="a"))))
    b, c = (json.loads(curves(tmp_path)[name].splitlines()[0]) for name in "bc")
    assert b == c
