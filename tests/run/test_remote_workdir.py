"""A workdir in a cloud store: a run is trained, stopped, resumed and evaluated there as on a disk."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from bucket import make_bucket
from etils import epath
from etils.epath import backend
from record_run import make_config, write_initial
from user_rows import release_row, write_jsonl

import fac_jax
from experiments.run.record import RunRecord
from experiments.run.scores import losses
from experiments.run.setup import assets, recipe_of, start
from experiments.run.shared_stages import stage_source
from fac_jax.checkpoint.export import is_model, load_params
from fac_jax.io import copy
from fac_jax.training.metrics import RATES, MetricLog, read_curve
from fac_jax.training.run_recipe import run_recipe
from fac_jax.types import InputError

STEPS = 4


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> epath.Path:
    """An empty cloud store; the working directory is an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    make_bucket(tmp_path / "store", monkeypatch)
    return epath.Path("gs://bucket")


def train(config: Any, workdir: epath.PathLike, data: Path) -> epath.Path:
    run = start(config, workdir, data)
    recipe = recipe_of(run)
    record = RunRecord(run)
    model = run_recipe(recipe, run.workdir, run, assets(run), source=stage_source(run, recipe))
    record.finish({})
    return model


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Sends Ctrl-C while the metrics of a step are written down."""
    write = MetricLog.write

    def stopping(self: MetricLog, number: int, *values: dict[str, float]) -> None:
        write(self, number, *values)
        if number == step:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(MetricLog, "write", stopping)


@pytest.mark.slow
def test_a_run_in_a_cloud_store_is_trained_stopped_resumed_and_evaluated(
    bucket: epath.Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"id": f"{i}", **release_row("hi", "yes")} for i in range(6)])
    sets = {"mine": {"path": str(rows), "eval_path": str(rows)}}
    initial = bucket / "initial"
    copy(write_initial(tmp_path / "initial"), initial)
    config = make_config(None, sets, steps=STEPS, checkpoint_every=2)
    config.model.init_from = str(initial)
    config.evals.every, config.evals.best = 2, "loss"
    workdir, data = bucket / "runs" / "mine", tmp_path / "data"

    with monkeypatch.context() as patch:
        stop_after(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            train(config, workdir, data)
    stage = workdir / "finetune"
    stopped = [line["step"] for line in read_curve(stage)]
    assert 0 < len(stopped) < STEPS and stopped == list(range(1, len(stopped) + 1))
    assert not is_model(stage / "model")

    model = train(config, workdir, data)
    assert model == stage / "model" and is_model(model) and is_model(stage / "best")
    assert [line["step"] for line in read_curve(stage)] == list(range(1, STEPS + 1))
    assert read_curve(stage, RATES) and any((stage / "tensorboard").iterdir())
    assert json.loads((workdir / "record.json").read_text())["finished"]

    run = start(config, workdir, data)
    params, _ = load_params(workdir, recipe_of(run).abstract())
    last = json.loads((stage / "evals.jsonl").read_text().splitlines()[-1])
    np.testing.assert_allclose(losses(run, params)["mine/loss"], last["mine/loss"], rtol=1e-6)

    assert fac_jax.load("gs://bucket/runs/mine").config == run.config.model

    whole = train(config, tmp_path / "local", data)
    for left, right in zip(*(flat(load_params(folder)[0]) for folder in (whole, model)), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not any(Path().iterdir())  # nothing was taken for a local path


def flat(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_a_model_in_a_cloud_store_counts_when_its_small_files_are_there(bucket: epath.Path) -> None:
    (bucket / "model" / "params").mkdir(parents=True)
    (bucket / "model" / "config.json").write_text("{}")
    assert not is_model(bucket / "model")
    (bucket / "model" / "origin.json").write_text("{}")
    assert is_model(bucket / "model")


def test_rows_and_shared_stages_in_a_cloud_store_are_refused(bucket: epath.Path, tmp_path: Path) -> None:
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"id": "a", **release_row("hi", "yes")}])
    config = make_config(write_initial(tmp_path), {"mine": {"path": str(rows)}})
    with pytest.raises(InputError, match="gs://bucket/data.*--data_dir"):
        start(config, bucket / "run", bucket / "data")
    assert not (bucket / "run").exists()
    config.stages_dir = "gs://bucket/stages"
    run = start(config, tmp_path / "run", tmp_path / "data")
    with pytest.raises(InputError, match="gs://bucket/stages"):
        stage_source(run, recipe_of(run))


def test_a_store_without_its_package_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object, path: object) -> bool:
        raise ImportError("Install gcsfs to access Google Storage")

    monkeypatch.setattr(type(backend.fsspec_backend), "exists", missing)
    config = make_config(None, {"mine": {"path": str(tmp_path)}})
    config.model.preset = "tiny"
    with pytest.raises(InputError, match="gs://bucket/run: cannot be read here: Install gcsfs"):
        start(config, "gs://bucket/run", tmp_path)
