"""The loop: learning, resuming, being killed, and stopping at a loss that is not finite."""

import io
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
from rich.console import Console
from toy_training import MODEL, ROWS, ToyData, make_batch, recipe, stage, warmup

from experiments import launch
from experiments.recipe import Recipe, run_recipe
from fac_jax.checkpoint.export import load_params
from fac_jax.losses.cross_entropy import token_cross_entropy
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.training.flops import Meter, trainable_paths
from fac_jax.training.interrupt import SIGNALS, deferred_interrupts
from fac_jax.training.labels import next_labels
from fac_jax.training.metrics import RATES, MetricLog, read_curve
from fac_jax.training.objectives import encoder_ctc_loss, sft_loss
from fac_jax.training.progress import Rates, StageProgress
from fac_jax.training.stage import StageConfig
from fac_jax.types import IGNORE, InputError, Params
from fac_jax.work import needed_work


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
def params() -> Params:
    return jax.jit(lambda: init_params(MODEL, jax.random.key(0)))()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workdir = tmp_path_factory.mktemp("uninterrupted")
    run(workdir)
    return workdir


def curves(workdir: Path) -> dict[str, bytes]:
    return {path.parent.name: path.read_bytes() for path in sorted(workdir.glob("*/metrics.jsonl"))}


def test_loss_falls_in_every_stage(uninterrupted: Path, params: Params) -> None:
    ears, joint = (read_curve(uninterrupted / name) for name in ("warmup", "joint"))
    assert [line["step"] for line in ears] == list(range(1, 10))
    assert [line["step"] for line in joint] == list(range(1, 21))
    assert np.mean([line["loss"] for line in ears[-2:]]) < 0.97 * ears[0]["loss"]
    for name in ("text_loss", "speech_loss"):
        assert joint[-1][name] < 0.9 * joint[0][name]
    paths = trainable_paths(params, ("",))
    assert joint[0]["flops"] == Meter(MODEL, stage(), paths).flops(needed_work(make_batch(0)))
    assert ears[0]["flops"] < joint[0]["flops"]  # the encoder alone
    assert joint[-1]["loss"] == pytest.approx(joint[-1]["text_loss"] + joint[-1]["speech_loss"], rel=1e-6)


def test_a_stage_starts_from_the_model_before_it(uninterrupted: Path, params: Params) -> None:
    start = load_params(uninterrupted / "warmup")[0]
    assert same_trees(start["backbone"], params["backbone"])  # frozen in the warm-up
    assert not same_trees(start["encoder"], params["encoder"])
    loss, _ = jax.jit(lambda p, b: sft_loss(FunAudioChat(MODEL), p, b, 1.0, 1.0, 256))(start, make_batch(0))
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
    root = Path(__file__).parents[1]
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
    assert told == "terminated; the same command goes on from the last checkpoint\n"
    assert process.returncode == 0
    run(tmp_path)
    assert curves(tmp_path) == curves(uninterrupted)


def test_the_program_stops_at_a_nan_with_one_line(tmp_path: Path) -> None:
    process = program(tmp_path, "--poisoned=9")
    told = process.communicate()[1]
    assert process.returncode == launch.BAD_INPUT
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


def test_no_label_is_predicted_across_segments() -> None:
    segments = np.array([[1, 1, 2, 2, 2, 0]])
    labels = np.array([[10, 11, 20, 21, 22, IGNORE]])
    assert next_labels(labels, segments).tolist() == [[11, IGNORE, 21, 22, IGNORE, IGNORE]]
    fine = np.stack([labels, labels + 100], axis=-1)
    assert next_labels(fine, segments)[0, :3].tolist() == [[11, 111], [IGNORE, IGNORE], [21, 121]]


def test_losses_are_those_of_shifted_labels(params: Params) -> None:
    """Position s against label s + 1, fine position p against label p + G (model.md section 7), on flat grids."""
    model, batch, group = FunAudioChat(MODEL), make_batch(5), MODEL.group_size

    @jax.jit
    def logits(p: Params) -> tuple[jax.Array, jax.Array]:
        output = model.apply({"params": p}, batch)
        text = model.apply({"params": p}, output.hidden, method="text_logits")
        return text, model.apply({"params": p}, output.speech_hidden, method="speech_logits")

    text, speech = logits(params)
    fine = batch.speech_labels.reshape(len(speech), -1)
    speech = token_cross_entropy(speech.reshape(*fine.shape, -1)[:, :-group], fine[:, group:])
    text = token_cross_entropy(text[:, :-1], batch.labels[:, 1:])
    loss, metrics = jax.jit(lambda p: sft_loss(model, p, batch, 2.0, 0.5, chunk=4))(params)
    np.testing.assert_allclose(metrics["speech_loss"], speech.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["text_loss"], text.mean(), rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * text.mean() + speech.mean() / 2, rtol=1e-5)
    assert metrics["speech_labels"] == (fine[:, group:] != IGNORE).sum()


def test_leaving_unspoken_rows_out_of_the_head_changes_nothing(params: Params) -> None:
    model, batch, spoken = FunAudioChat(MODEL), make_batch(0), ROWS - 1
    labels = np.where(np.arange(ROWS)[:, None, None] < spoken, batch.speech_labels, IGNORE)
    batch = batch.replace(speech_labels=labels)

    def loss(p: Params, rows: int | None) -> jax.Array:
        return sft_loss(model, p, batch, 1.0, 1.0, 256, rows)[0]

    whole, part = (jax.jit(jax.value_and_grad(lambda p, rows=rows: loss(p, rows)))(params) for rows in (None, spoken))
    assert model.apply({"params": params}, batch, spoken_rows=spoken).speech_hidden.shape[0] == spoken
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole, part)


def test_without_speech_weight_the_head_is_not_run(params: Params) -> None:
    broken = params | {"refined_head": {}}
    _, metrics = jax.jit(lambda p: sft_loss(FunAudioChat(MODEL), p, make_batch(0), 1.0, 0.0, 256))(broken)
    assert "speech_loss" not in metrics and np.isfinite(metrics["text_loss"])


def test_ctc_hears_the_users_audio_and_nothing_else(params: Params) -> None:
    loss = jax.jit(lambda b: encoder_ctc_loss(FunAudioChat(MODEL), params, b)[0])
    batch = make_batch(0)
    assert loss(batch.replace(speech_ids=np.roll(batch.speech_ids, 1, axis=-1))) == loss(batch)
    assert loss(batch.replace(mel_windows=batch.mel_windows * 2)) != loss(batch)
    assert loss(batch.replace(labels=np.where(batch.labels == IGNORE, MODEL.special.eos, batch.labels))) == loss(batch)


def test_bfloat16_trains_with_float32_parameters(tmp_path: Path) -> None:
    single = Recipe(replace(MODEL, dtype="bfloat16"), (stage(steps=12, speech_weight=0.0),))
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


def test_the_log_forgets_what_comes_after_its_step(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, 0)
    for step in range(1, 6):
        log.write(step, {"loss": float(step)}, {"steps_per_second": 1.0})
    log.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')  # a line cut off by a crash
    assert [line["step"] for line in read_curve(tmp_path)] == [1, 2, 3, 4, 5]
    MetricLog(tmp_path, 3).close()
    assert (tmp_path / "metrics.jsonl").read_text() == "".join(
        json.dumps({"step": step, "loss": float(step)}) + "\n" for step in (1, 2, 3)
    )
    assert [line["step"] for line in read_curve(tmp_path, RATES)] == [1, 2, 3]


def test_rates_are_what_was_handled_in_the_time_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 12.0, 14.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    rates, known = Rates(), {"audio_seconds": 3.0, "tokens": 8.0, "flops": 4e12}
    assert rates.add(known) == {}
    assert rates.add({name: 2 * value for name, value in known.items()})["tokens_per_second"] == 8.0
    shown = rates.add({name: 0.0 for name in known})
    assert shown == {
        "steps_per_second": 0.5,
        "audio_seconds_per_second": 1.5,
        "tokens_per_second": 4.0,
        "flops_per_second": 2e12,
    }


def test_mfu_is_the_share_of_what_the_devices_can_do(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    rates = Rates(peak=8e12)
    rates.add({"audio_seconds": 1.0, "flops": 1e12})
    recent = rates.add({"audio_seconds": 1.0, "flops": 2e12})
    assert recent["mfu"] == 0.25
    out = io.StringIO()
    with StageProgress("joint", 0, 1, Console(file=out)) as progress:
        progress.update(1, 2.0, recent)
    assert out.getvalue().startswith("joint  1/1  loss 2.0000  1.00 steps/s  1.0 s audio/s  2 TFLOP/s  MFU 25.0%")
