"""Sweeps: axes, names, and everything that is refused before anything runs."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from launchers import imported
from sweep_example import QUICKSTART, SIZES, made

from experiments.configs import resolved
from experiments.run.config import resolve_config
from experiments.sweeps.axes import Axis, axis_points, grid, points, random, short_keys, written, zipped
from experiments.sweeps.config import read_sweep, sweep
from experiments.sweeps.runs import load_config, make_runs
from experiments.sweeps.state import check_room
from fac_jax.config import from_tree
from fac_jax.types import InputError


@pytest.fixture(scope="module")
def launcher() -> Iterator[ModuleType]:
    with imported("experiments.sweep") as module:
        yield module


def kind(axis: dict[str, Any]) -> Axis:
    return from_tree(Axis, axis, "axis")


def test_axes_have_their_points() -> None:
    both = {"a": (1, 2), "b.c": ("x", "y")}
    assert axis_points("n", kind(grid(both))) == [("", {"a": a, "b.c": c}) for a in (1, 2) for c in "xy"]
    assert axis_points("n", kind(zipped(both))) == [("", {"a": 1, "b.c": "x"}), ("", {"a": 2, "b.c": "y"})]
    named = points({"with": {}, "without": {"a": 0}})
    assert axis_points("n", kind(named)) == [("with", {}), ("without", {"a": 0})]


def test_draws_are_the_same_every_time_and_in_their_range() -> None:
    ranges = {"peak": ("log_uniform", 1e-4, 1e-2), "decay": ("uniform", 0.0, 0.1), "kind": ("choice", "ipo", "hinge")}
    drawn = axis_points("n", kind(random(ranges, draws=40, seed=3)))
    assert drawn == axis_points("n", kind(random(ranges, draws=40, seed=3)))
    assert drawn != axis_points("n", kind(random(ranges, draws=40, seed=4)))
    values = [point for _, point in drawn]
    assert all(1e-4 <= v["peak"] <= 1e-2 and 0 <= v["decay"] <= 0.1 for v in values)
    assert {v["kind"] for v in values} == {"ipo", "hinge"}
    assert 0.2 < sum(v["peak"] < 1e-3 for v in values) / 40 < 0.8, "as many below the middle decade as above"
    assert all(float(written(v["peak"])) == v["peak"] for v in values), "the name says the whole value"


def test_keys_are_shortened_until_they_differ() -> None:
    keys = ["stages.a.steps", "stages.b.steps", "model.group_size"]
    assert list(short_keys(keys).values()) == ["a.steps", "b.steps", "group_size"]
    assert [written(v) for v in (True, None, 1e-4, (1, 2), "backbone/ x")] == [
        "true",
        "none",
        "0.0001",
        "1+2",
        "backbone-x",
    ]


def test_names_say_what_differs_and_configs_hold_it() -> None:
    axes = {
        "size": grid({"model.group_size": (1, 3)}),
        "head": points({"with": {}, "without": {"stages.speak.loss.speech_weight": 0.0}}),
    }
    runs = make_runs(made(axes, (0, 4), fixed={"stages.text.steps": 5}), resolve_config)
    assert [run.name for run in runs[:3]] == [
        "head=with,group_size=1,seed=0",
        "head=with,group_size=1,seed=4",
        "head=with,group_size=3,seed=0",
    ]
    assert len(runs) == 8
    last = runs[-1].config
    assert last["model"]["group_size"] == 3 and last["stages"]["speak"]["loss"]["speech_weight"] == 0.0
    assert last["stages"]["text"]["steps"] == 5
    found = resolve_config(last)
    assert found.data.world is not None
    assert {found.seed, found.data.world.seed, *(stage.seed for stage in found.stages)} == {4}, "unset seeds follow"


def test_names_are_folders_whatever_is_in_a_key() -> None:
    axes = {"alpha": grid({"stages.merge.merge.alphas.backbone/": (0.25,)})}
    config = sweep("toy_launcher", "experiments/configs/recipe_toy.py", axes, ())
    (run,) = make_runs(read_sweep(config), resolve_config)
    assert run.name == "backbone=0.25" and run.config["stages"]["merge"]["merge"]["alphas"] == {"backbone/": 0.25}


def test_a_config_that_was_resolved_is_the_same_config(tmp_path: Path) -> None:
    run = make_runs(made(SIZES), resolve_config)[1]
    (tmp_path / "asked.json").write_text(json.dumps({"config": run.config}))
    assert resolved.get_config(str(tmp_path / "asked.json")).to_dict() == run.config


@pytest.mark.parametrize(
    ("axes", "others", "message"),
    [
        (
            {"a": grid({"stages.speak.stps": (1,)})},
            {},
            r"unknown sweep key stages\.speak\.stps: .* stages\.speak\.steps\?",
        ),
        (
            {"a": grid({"stages.spek.steps": (1,)})},
            {},
            r"unknown sweep key stages\.spek\.steps: .* stages\.speak\.steps\?",
        ),
        ({"a": grid({"seeed": (1,)})}, {}, r"unknown sweep key seeed: .* did you mean seed\?"),
        (
            {"a": grid({"model.group_siz": (1,)})},
            {},
            r"unknown sweep key model\.group_siz: .* model\.group_size\?",
        ),
        (
            {"a": grid({"model.text.dept": (1,)})},
            {},
            r"unknown sweep key model\.text\.dept: .* model\.text\.depth\?",
        ),
        ({"a": grid({"data.world.planet": (1,)})}, {}, r"unknown sweep key data\.world\.planet"),
        ({"a": grid({"stages.speak.steps": ("few",)})}, {}, r"sweep key stages\.speak\.steps='few'"),
        (
            {"a": grid({"stages.speak.data.mixture.s2x": (1,)})},
            {},
            r"run s2x=1: stages\.speak\.data\.mixture names 's2x'; did you mean",
        ),
        ({"a": grid({"recipe": (("text", "sing"),)})}, {}, "recipe lists stage sing"),
        ({"a": grid({"seed": (1,)})}, {"seeds": (0,)}, r"axes\.a changes seed, and so does seeds"),
        ({"a": SIZES["k"], "b": SIZES["k"]}, {}, r"axes\.b changes model\.group_size, and so does axes\.a"),
        ({"a": grid({"model.group_size": (3, 3)})}, {}, "two runs are named group_size=3, and would share a workdir"),
        ({"a": grid({"model.group_size": ()})}, {}, r"axes\.a has no point"),
        ({"a": zipped({"seed": (1,), "data.vocab_size": (1, 2)})}, {}, "as many values of one key as of another"),
        ({"a": random({"seed": ("log_uniform", 0, 1)}, 1)}, {}, "cannot be drawn from"),
        ({"a": {"kind": "gird"}}, {}, r"axes\.a\.kind is 'gird'; known: grid, zip, list, random"),
        ({"a": {"kinds": "grid"}}, {}, r"unknown config key sweep\.axes\.a\.kinds"),
        ({}, {"backend": "cloud"}, "backend is 'cloud'; known: local, slurm"),
        ({}, {"config": "nowhere.py"}, "config is nowhere.py: no such file"),
    ],
)
def test_what_cannot_be_swept_is_one_line(axes: Any, others: dict[str, Any], message: str) -> None:
    others = dict(others)
    config = others.pop("config", QUICKSTART)
    with pytest.raises(InputError, match=message) as caught:
        make_runs(read_sweep(sweep("toy_launcher", config, axes, others.pop("seeds", ()), **others)), resolve_config)
    assert "\n" not in str(caught.value)


def test_a_key_of_a_stage_that_is_not_run_changes_nothing() -> None:
    axes = {"a": grid({"stages.speak.steps": (1, 2)})}
    with pytest.raises(InputError, match="changes nothing, since the recipe has no stage speak"):
        make_runs(made(axes, fixed={"recipe": ("text", "ears")}), resolve_config)


def test_a_weight_of_0_leaves_a_set_out() -> None:
    (run,) = make_runs(made({}, (0,), fixed={"stages.speak.data.mixture.t2s": 0}), resolve_config)
    (speak,) = (stage for stage in resolve_config(run.config).stages if stage.name == "speak")
    assert "t2s" not in speak.data.sources and "s2s" in speak.data.sources


def test_a_folder_of_shared_stages_goes_to_every_run() -> None:
    runs = make_runs(made(SIZES, stages_dir="runs/stages"), resolve_config)
    assert {run.config["stages_dir"] for run in runs} == {"runs/stages"} and "runs/stages" not in str(runs[0].changes)
    assert {run.config["stages_dir"] for run in make_runs(made(SIZES), resolve_config)} == {None}


def test_room_is_looked_at_before_anything_runs(tmp_path: Path) -> None:
    full = made({}, disk_gib=1e9)
    with pytest.raises(InputError, match=r"3 runs need 3000000000\.0 GiB \(disk_gib=1e\+09 each\), .* GiB are free"):
        check_room(full, tmp_path / "not" / "there", 3)
    config = sweep("toy_launcher", QUICKSTART, {}, disk_gib=0.0)
    config.local.update({"memory_gib": 1e6, "processes": 2})
    with pytest.raises(InputError, match=r"2 processes need 2000000\.0 GiB of memory .* are available: --config"):
        check_room(read_sweep(config), tmp_path, 3)
    assert not list(tmp_path.iterdir())


def test_a_sweep_runs_to_its_end_and_grows(tmp_path: Path, launcher: ModuleType, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{os.getcwd()}:{Path(__file__).parents[1] / 'support'}")
    folder = tmp_path / "sizes"
    assert launcher.run_sweep(made(SIZES, (0,)), folder) == []
    assert "[2/2] group_size=3,seed=0: done" in capsys.readouterr().out
    before = (folder / "group_size=1,seed=0" / "steps.txt").read_text()
    assert launcher.run_sweep(made(SIZES, (0, 1)), folder) == []
    said = capsys.readouterr().out
    assert "seed=0" not in said and "[4/4]" in said
    assert (folder / "group_size=1,seed=0" / "steps.txt").read_text() == before
    assert [one.status() for one in launcher.planned(made(SIZES, (0, 1)), folder)] == ["done"] * 4


def test_workdirs_that_overlap_are_refused(tmp_path: Path, launcher: ModuleType) -> None:
    folder, dry = tmp_path / "sizes", {"backend": "dry"}
    launcher.run_sweep(made(SIZES, **dry), folder)
    for sweep_, where, told in (
        (made({"k": grid({"data.vocab_size": (1, 2)})}, **dry), folder, r"holds another sweep: .*axes\.k\.keys\.0"),
        (made(SIZES, **dry, fixed={"data.vocab_size": 9}), folder, "holds another sweep"),
        (made(SIZES, **dry), folder / "group_size=1", "lies in .*sizes, which holds sweep.json"),
    ):
        with pytest.raises(InputError, match=told):
            launcher.run_sweep(sweep_, where)
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    with pytest.raises(InputError, match="is the workdir of a run"):
        launcher.run_sweep(made(SIZES, **dry), run)
    asked = folder / "group_size=1" / "asked.json"
    values = json.loads(asked.read_text())
    values["config"]["data"]["vocab_size"] = 9
    asked.write_text(json.dumps(values))
    with pytest.raises(InputError, match=r"holds another run: data\.vocab_size is 9 there, 512 here"):
        launcher.run_sweep(made(SIZES, **dry), folder)
    with pytest.raises(InputError, match="no such module"):
        launcher.run_sweep(read_sweep(sweep("toy_launchr", QUICKSTART, {})), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_dry_prints_commands_that_launchers_take(tmp_path: Path, launcher: ModuleType, capsys: Any) -> None:
    launcher.run_sweep(made(SIZES, (0,), backend="dry", flags=("--fast",)), tmp_path / "s")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    asked = tmp_path / "s" / "group_size=1,seed=0" / "asked.json"
    assert f"--config=experiments/configs/resolved.py:{asked}" in lines[0]
    assert lines[0].endswith(f"--data_dir={tmp_path / 's' / 'data'} --fast")
    config = load_config(f"experiments/configs/resolved.py:{asked}")
    assert resolve_config(config).model.group_size == 1
