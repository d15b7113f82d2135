"""Stages that several runs have in common: trained once, the same for all, and never one for another."""

import dataclasses
import os
import threading
import types
from pathlib import Path
from typing import Any, cast

import jax
import pytest
from etils import epath
from toy_pairs import same
from toy_training import MODEL, ToyData, ToyRun, stage, warmup

from experiments.run.data import Run
from experiments.run.schema import RunConfig
from experiments.run.shared_stages import SharedStages, stage_keys, stage_source
from fac_jax.checkpoint.export import load_params
from fac_jax.training.metrics import read_curve
from fac_jax.training.recipe import Recipe
from fac_jax.training.run_recipe import run_recipe, trained_here
from fac_jax.training.stage import MergeConfig, StageConfig
from fac_jax.types import InputError


class Trains:
    """Runs recipes and counts the stages that were trained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trained: list[str] = []

    def __call__(self, workdir: Path, *stages: StageConfig, data: str = "rows") -> Path:
        recipe = Recipe(MODEL, stages)

        def make_data(stage: StageConfig) -> ToyData:
            self.trained.append(f"{workdir.name}/{stage.name}")
            return ToyData()

        source = SharedStages(self.folder, stage_keys(recipe, data))
        return Path(run_recipe(recipe, workdir, ToyRun(make_data), {}, source=source))


@pytest.fixture
def trains(tmp_path: Path) -> Trains:
    return Trains(tmp_path / "stages")


@pytest.mark.slow
def test_what_two_runs_begin_with_is_trained_once(tmp_path: Path, trains: Trains) -> None:
    first = trains(tmp_path / "one", warmup("a"), stage("b", steps=3))
    second = trains(tmp_path / "two", warmup("a"), stage("b", steps=2))
    assert trains.trained == ["one/a", "one/b", "two/b"]
    assert read_curve(tmp_path / "two" / "a") == read_curve(tmp_path / "one" / "a") != []
    alone = run_recipe(Recipe(MODEL, (warmup("a"), stage("b", steps=2))), tmp_path / "alone", ToyRun(), {})
    same(load_params(second)[0], load_params(alone)[0])
    with pytest.raises(AssertionError):
        same(load_params(first)[0], load_params(second)[0])
    assert not (trains.folder / "checkpoints").exists() and not list(trains.folder.glob("*/checkpoints"))


def test_keys_hold_all_that_a_stage_comes_from() -> None:
    a, b = warmup("a"), stage("b", steps=3)
    c = StageConfig("c", 0, merge=MergeConfig("a", {"backbone/": 0.25}))
    keys = stage_keys(Recipe(MODEL, (a, b, c)), "rows")
    assert stage_keys(Recipe(MODEL, (a, b)), "rows") == {name: keys[name] for name in "ab"}
    other_start = dataclasses.replace(a, seed=1)
    assert set(stage_keys(Recipe(MODEL, (other_start, b, c)), "rows").values()).isdisjoint(keys.values())
    assert set(stage_keys(Recipe(MODEL, (a, b, c)), "other rows").values()).isdisjoint(keys.values())
    wider = dataclasses.replace(MODEL, context=MODEL.context * 2)
    assert set(stage_keys(Recipe(wider, (a, b, c)), "rows").values()).isdisjoint(keys.values())
    half = dataclasses.replace(c, merge=MergeConfig("a", {"backbone/": 0.5}))
    assert stage_keys(Recipe(MODEL, (a, b, half)), "rows")["c"] != keys["c"]


def a_run(workdir: str, **config: Any) -> Run:
    found = types.SimpleNamespace(workdir=epath.Path(workdir), config=RunConfig(MODEL, (warmup("a"),), **config))
    found.checksum = lambda: "rows"
    return cast(Run, found)


def test_a_run_that_cannot_share_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe(MODEL, (warmup("a"),))
    assert stage_source(a_run("runs/a"), recipe) is trained_here
    assert isinstance(stage_source(a_run("runs/a", stages_dir="stages"), recipe), SharedStages)
    with pytest.raises(InputError, match="gs://stages is none: leave stages_dir out"):
        stage_source(a_run("runs/a", stages_dir="gs://stages"), recipe)
    with pytest.raises(InputError, match="gs://runs/a is none: leave stages_dir out"):
        stage_source(a_run("gs://runs/a", stages_dir="stages"), recipe)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(InputError, match="one process"):
        stage_source(a_run("runs/a", stages_dir="stages"), recipe)


def test_a_run_waits_for_another_that_trains_its_stage(
    tmp_path: Path, trains: Trains, capsys: pytest.CaptureFixture[str]
) -> None:
    a = warmup("a")
    source = SharedStages(trains.folder, stage_keys(Recipe(MODEL, (a,)), "rows"))
    directory = epath.Path(tmp_path / "one" / "a")
    (directory / "model").mkdir(parents=True)
    with source(a, directory) as there:
        assert not there
        waiting = threading.Thread(target=trains, args=(tmp_path / "two", a))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and not trains.trained
    waiting.join()
    assert not trains.trained and (tmp_path / "two" / "a" / "model").is_dir()
    assert "waiting" in capsys.readouterr().err


def test_a_stage_that_fails_is_given_to_nobody(tmp_path: Path, trains: Trains) -> None:
    a = warmup("a")
    source = SharedStages(trains.folder, stage_keys(Recipe(MODEL, (a,)), "rows"))
    with pytest.raises(KeyboardInterrupt), source(a, epath.Path(tmp_path / "one" / "a")):
        raise KeyboardInterrupt
    trains(tmp_path / "two", a)
    assert trains.trained == ["two/a"]
    (file,) = trains.folder.glob("*/model/config.json")
    assert os.path.samefile(file, tmp_path / "two" / "a" / "model" / "config.json")
