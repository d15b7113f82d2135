"""A trace of some steps of a stage."""

from pathlib import Path

import jax.numpy as jnp
import pytest
from etils import epath
from stub_training import StubData, stub_recipe, stub_warmup
from toy_training import ToyRun

from fac_jax.training.profile import PROFILE, ProfileWindow, StepProfiler
from fac_jax.training.recipe import run_recipe
from fac_jax.types import InputError


def traces(directory: Path) -> list[Path]:
    return sorted((directory / PROFILE).rglob("*.xplane.pb"))


def test_a_window_is_two_numbers() -> None:
    assert ProfileWindow.parse("20:3") == ProfileWindow(20, 3)
    for text in ("20", "0:3", "a:b", "3:-1"):
        with pytest.raises(InputError, match=f'profile is "{text}"; give START:STEPS'):
            ProfileWindow.parse(text)


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
    recipe = stub_recipe(stub_warmup("a", steps=3))
    run_recipe(recipe, epath.Path(tmp_path), ToyRun(lambda _: StubData()), {}, profile=ProfileWindow(2, 1))
    assert len(traces(tmp_path / "a")) == 1
