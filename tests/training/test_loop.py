"""The loop: learning, resuming, being killed, and stopping at a loss that is not finite."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import stub_training
from etils import epath
from stub_training import Stopped, Stopping, StubData, stub_recipe, stub_stage, stub_warmup
from toy_training import MODEL, ToyData, ToyRun, make_batch, recipe, stage

from fac_jax import cli
from fac_jax.batching.batch_stats import batch_stats
from fac_jax.checkpoint.export import load_params
from fac_jax.losses import Sft
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.flops import Meter, trainable_paths
from fac_jax.training.interrupt import SIGNALS, deferred_interrupts
from fac_jax.training.metrics import read_curve
from fac_jax.training.recipe import Recipe
from fac_jax.training.run_recipe import run_recipe
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError, Params


def run(
    workdir: epath.Path, *stages: StageConfig, make: Callable[[StageConfig], ToyData] = lambda _: StubData()
) -> None:
    opened: list[ToyData] = []

    def remembered(stage: StageConfig) -> ToyData:
        opened.append(make(stage))
        return opened[-1]

    try:
        run_recipe(stub_recipe(*stages), workdir, ToyRun(remembered), {})
    finally:
        assert all(one.closed for one in opened)


def same_trees(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture
def workdir(tmp_path: Path) -> epath.Path:
    return epath.Path(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> epath.Path:
    workdir = epath.Path(tmp_path_factory.mktemp("uninterrupted"))
    run(workdir)
    return workdir


def curves(workdir: epath.Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(workdir.glob("*/metrics.jsonl"))}


@pytest.mark.slow
def test_the_model_learns_in_every_stage(workdir: epath.Path, toy_params: Params) -> None:
    run_recipe(recipe(), workdir, ToyRun(), {})
    ears, joint = (read_curve(workdir / name) for name in ("warmup", "joint"))
    assert [line["step"] for line in ears] == list(range(1, 10))
    assert [line["step"] for line in joint] == list(range(1, 21))
    assert np.mean([line["loss"] for line in ears[-2:]]) < 0.97 * ears[0]["loss"]
    for name in ("text_loss", "speech_loss"):
        assert joint[-1][name] < 0.9 * joint[0][name]
    paths = trainable_paths(toy_params, ("",))
    assert joint[0]["flops"] == Meter(MODEL, stage(), paths).flops(batch_stats(make_batch(0)))
    assert ears[0]["flops"] < joint[0]["flops"]  # only the encoder's
    assert joint[-1]["loss"] == pytest.approx(joint[-1]["text_loss"] + joint[-1]["speech_loss"], rel=1e-6)
    start = load_params(workdir / "warmup")[0]
    assert same_trees(start["backbone"], toy_params["backbone"])  # frozen in the warm-up
    assert not same_trees(start["encoder"], toy_params["encoder"])
    loss, _ = jax.jit(lambda p, b: Sft()(FunAudioChat(MODEL), p, b))(start, make_batch(0))
    assert joint[0]["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_resumed_equals_uninterrupted_bit_for_bit(workdir: epath.Path, uninterrupted: epath.Path) -> None:
    for at in (3, 8):  # in the second stage, before and after its first checkpoint
        with pytest.raises(Stopped):
            run(workdir, make=lambda stage, at=at: StubData() if stage.name == "warmup" else Stopping(at))
    run(workdir)
    assert curves(workdir) == curves(uninterrupted)
    assert same_trees(load_params(workdir)[0], load_params(uninterrupted)[0])


def program(workdir: epath.Path, *options: str) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, stub_training.__file__, f"--workdir={workdir}", *options]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for(path: epath.Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_curve(workdir: epath.Path, uninterrupted: epath.Path) -> None:
    process = program(workdir, "--pause=0.1")
    wait_for(workdir / "joint" / "checkpoints" / "14", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (workdir / "joint" / "model").exists()
    run(workdir)
    assert curves(workdir) == curves(uninterrupted)
    assert same_trees(load_params(workdir)[0], load_params(uninterrupted)[0])


def test_a_terminated_program_saves_and_says_how_to_go_on(workdir: epath.Path, uninterrupted: epath.Path) -> None:
    process = program(workdir, "--pause=0.2")
    wait_for(workdir / "joint" / "checkpoints" / "7", process)
    process.send_signal(signal.SIGTERM)
    told = process.communicate()[1]
    assert told.endswith(f"\nterminated; {cli.RESUMES}\n")
    assert process.returncode == 0
    run(workdir)
    assert curves(workdir) == curves(uninterrupted)


def test_the_program_stops_at_a_nan_with_one_line(workdir: epath.Path) -> None:
    process = program(workdir, "--poisoned=9")
    told = process.communicate()[1]
    assert process.returncode == cli.BAD_INPUT
    last = told.splitlines()[-1]
    assert last.startswith("error: stage joint: not finite at step 10 (loss nan") and "Traceback" not in told
    assert "stub/9/0" in last and str(workdir / "joint" / "checkpoints" / "7") in last


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


def test_a_loss_that_is_not_finite_names_step_rows_and_no_checkpoint(workdir: epath.Path) -> None:
    with pytest.raises(InputError) as caught:
        run(workdir, stub_stage(), make=lambda _: StubData(poisoned=2))
    message = str(caught.value)
    assert message.startswith("stage joint: not finite at step 3 (loss nan")
    assert "; rows of its batch: stub/2/0, stub/2/1, stub/2/2; " in message
    assert message.endswith("; last good checkpoint: none")
    assert [line["step"] for line in read_curve(workdir / "joint")] == [1, 2]


def test_every_stage_compiles_once(workdir: epath.Path) -> None:
    """Compilations of the step, seen by jax's own monitoring: one a run, after a fresh start, a crash and a load."""
    seen: list[str] = []

    def note(event: str, _: float, **about: str | int) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and about.get("fun_name") == "jit(step)":
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    two = (stub_warmup("first"), stub_warmup("second"))
    with pytest.raises(Stopped):
        run(workdir, *two, make=lambda _: Stopping(6))
    assert len(seen) == 1
    run(workdir, *two)
    assert len(seen) == 3


@pytest.mark.slow
def test_bfloat16_trains_with_float32_parameters(workdir: epath.Path) -> None:
    single = Recipe(replace(MODEL, dtype="bfloat16"), (stage(steps=12, loss=Sft(speech_weight=0.0)),))
    params, config = load_params(run_recipe(single, workdir, ToyRun(), {}))
    assert config.dtype == "bfloat16"
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    curve = read_curve(workdir / "joint")
    assert curve[-1]["loss"] < 0.9 * curve[0]["loss"]
