"""A trace of some steps of a stage."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from toy_training import ToyData, warmup

from fac_jax.training.loop import train
from fac_jax.training.optimizer import make_optimizer, make_schedule
from fac_jax.training.profile import PROFILE, ProfileWindow, StepProfiler
from fac_jax.training.step import Objective, init_state, make_step
from fac_jax.types import InputError


def traces(directory: Path) -> list[Path]:
    return sorted((directory / PROFILE).rglob("*.xplane.pb"))


def test_a_window_is_two_numbers() -> None:
    assert ProfileWindow.parse("20:3") == ProfileWindow(20, 3)
    for text in ("20", "0:3", "a:b", "3:-1"):
        with pytest.raises(InputError, match=f'profile is "{text}"; give START:STEPS'):
            ProfileWindow.parse(text)


@pytest.mark.slow
def test_the_steps_of_a_window_are_traced(tmp_path: Path) -> None:
    with StepProfiler(ProfileWindow(2, 2), tmp_path) as profiler:
        for step in (1, 2, 3, 4):
            profiler.before(step)
            profiler.after(step, jnp.ones(()) * step)
            assert bool(traces(tmp_path)) == (step >= 3)
    assert len(traces(tmp_path)) == 1


def test_a_trace_ends_with_its_loop(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), StepProfiler(ProfileWindow(1, 9), tmp_path) as profiler:
        profiler.before(1)
        raise KeyboardInterrupt
    assert len(traces(tmp_path)) == 1


def test_training_writes_the_trace_of_its_window(tmp_path: Path) -> None:
    stage = warmup("a", steps=3, trainable=("",))

    def value(params: Any, batch: Any, counts: Any, reference: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        return jnp.sum(params["scale"] * jnp.mean(batch.mel_windows)), {}

    schedule = make_schedule(stage.optimizer, stage.steps)
    optimizer = make_optimizer(stage.optimizer, schedule)
    step = make_step(Objective(lambda batch: {"all": jnp.ones(())}, value), optimizer, schedule, stage.patterns)
    state = init_state({"scale": jnp.ones(3)}, optimizer, stage.patterns)
    store: Any = SimpleNamespace(latest=lambda: None, save=lambda *_: None)
    meter: Any = SimpleNamespace(peak=None, flops=lambda stats: 1.0)
    state = train(stage, step, state, ToyData(), store, tmp_path, meter, (), profile=ProfileWindow(2, 1))
    assert int(state.step) == 3 and len(traces(tmp_path)) == 1
