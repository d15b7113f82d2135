"""Checkpoints and finished models: exact, whole, and refused where they do not fit."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toy_training import MODEL

from fac_jax.checkpoint.export import export_model, load_params, resolve
from fac_jax.checkpoint.store import CheckpointStore, check_shapes, folder_of, stored
from fac_jax.types import InputError, Params

OPTIMIZER = optax.adamw(optax.constant_schedule(1e-3))


def params(width: int = 4) -> Params:
    values = jax.random.normal(jax.random.key(width), (3, width))
    return {"backbone": {"norm": {"scale": values[0]}, "embed": {"embedding": values}}, "head": {"bias": values[1]}}


def same(a: Any, b: Any) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        x.dtype == y.dtype and np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def trained(steps: int = 2) -> tuple[Params, Any]:
    tree, state = params(), OPTIMIZER.init(params())
    for _ in range(steps):
        updates, state = OPTIMIZER.update(jax.tree.map(jnp.sin, tree), state, tree)
        tree = optax.apply_updates(tree, updates)
    return tree, state


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = CheckpointStore(tmp_path / "joint" / "checkpoints", MODEL, keep=2)
    yield made
    made.close()


def test_restored_is_what_was_saved(store: CheckpointStore) -> None:
    tree, state = trained()
    assert store.latest() is None
    store.save(2, tree, state, {"next": 7, "inner": {"epoch": 1}})
    assert store.latest() == 2
    found, found_state, data = store.restore(2, params(), OPTIMIZER.init(params()))
    assert same(found, tree) and same(found_state, state)
    assert data == {"next": 7, "inner": {"epoch": 1}}


def test_frozen_parameters_are_written_once_for_all_checkpoints(store: CheckpointStore, tmp_path: Path) -> None:
    tree = trained()[0]
    trainable, frozen = {"head": tree["head"]}, {"backbone": tree["backbone"]}
    state = OPTIMIZER.init(trainable)
    for step in (1, 2):
        store.save(step, trainable, state, {}, frozen)
    assert store.latest() == 2
    assert same(store.restore(2, trainable, state)[0], trainable)
    for step in (1, 2):
        assert set(stored(store.path(step) / "params")) == {"head"}
        assert same(load_params(store.path(step))[0], tree)  # a checkpoint is still a model that can be used
    assert str(folder_of(store.path(2), ("head", "bias"))) == str(store.path(2) / "params")
    frozen_folder = folder_of(store.path(2), ("backbone", "norm", "scale"))
    assert str(frozen_folder) == str(store.path(2).parent / "frozen")
    written = os.stat(frozen_folder).st_mtime_ns
    again = CheckpointStore(store.path(2).parent, MODEL, keep=2)  # a resumed run
    again.save(3, trainable, state, {}, frozen)
    assert again.latest() == 3 and os.stat(frozen_folder).st_mtime_ns == written
    again.close()


def test_saving_outlives_donation(store: CheckpointStore) -> None:
    """The step that follows a save donates what is being written in the background."""
    big = {"w": jnp.arange(2_000_000, dtype=jnp.float32)}
    change = jax.jit(lambda tree: jax.tree.map(lambda x: x * 0 - 1, tree), donate_argnums=0)
    wanted = np.array(big["w"])
    store.save(1, big, {"m": jnp.ones(3)}, {})
    for _ in range(3):
        big = change(big)
    assert store.latest() == 1
    found, _, _ = store.restore(1, big, {"m": jnp.ones(3)})
    assert np.array_equal(found["w"], wanted)


def test_only_the_newest_are_kept(store: CheckpointStore) -> None:
    for step in (1, 2, 3, 4):
        store.save(step, *trained(step), {})
    assert store.latest() == 4
    assert sorted(int(p.name) for p in store.path(4).parent.iterdir() if p.name.isdigit()) == [3, 4]


def test_bfloat16_is_kept(store: CheckpointStore) -> None:
    tree = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params())
    store.save(1, tree, tree, {})
    assert store.latest() == 1
    assert same(store.restore(1, tree, tree)[0], tree)


def test_a_checkpoint_of_another_shape_names_parameters_and_both_shapes(store: CheckpointStore) -> None:
    store.save(5, *trained(), {})
    assert store.latest() == 5
    other = params(6) | {"encoder": {"bias": jnp.ones(2)}}
    del other["head"]
    with pytest.raises(InputError) as caught:
        store.restore(5, other, OPTIMIZER.init(other))
    assert str(caught.value) == (
        f"{store.path(5)}: checkpoint of another shape: "
        "backbone/embed/embedding is (3, 4) there, (3, 6) in the model; "
        "backbone/norm/scale is (4,) there, (6,) in the model; "
        "encoder/bias is absent there, (2,) in the model and 1 more"
    )


def export(directory: Path, tree: Params, order: int = 0, assets: dict[str, Path] | None = None) -> None:
    export_model(directory, tree, MODEL, {"stage": directory.parent.name, "order": order, "steps": 1}, assets or {})


def test_a_model_brings_its_config_and_files(tmp_path: Path) -> None:
    (tmp_path / "codec").mkdir()
    (tmp_path / "codec" / "codec.json").write_text("{}")
    (tmp_path / "words.json").write_text("[1]")
    files = {"tokenizer.json": tmp_path / "words.json", "codec": tmp_path / "codec"}
    (tmp_path / "stage" / "model.unfinished" / "params").mkdir(parents=True)  # left by a crash
    export(tmp_path / "stage" / "model", params(), assets=files)
    found, config = load_params(tmp_path / "stage" / "model")
    assert same(found, params()) and config == MODEL
    assert (tmp_path / "stage" / "model" / "tokenizer.json").read_text() == "[1]"
    assert (tmp_path / "stage" / "model" / "codec" / "codec.json").is_file()
    assert [p.name for p in (tmp_path / "stage").iterdir()] == ["model"]


def test_a_path_may_name_model_stage_checkpoint_or_workdir(tmp_path: Path, store: CheckpointStore) -> None:
    export(tmp_path / "b_first" / "model", params(4), order=0)
    export(tmp_path / "a_second" / "model", params(5), order=1)
    store.save(3, *trained(), {})
    store.save(12, *trained(3), {})
    assert store.latest() == 12
    assert resolve(tmp_path) == tmp_path / "a_second" / "model"
    assert resolve(tmp_path / "b_first") == resolve(tmp_path / "b_first" / "model") == tmp_path / "b_first" / "model"
    assert same(load_params(tmp_path / "joint")[0], trained(3)[0])
    found, config = load_params(store.path(3))
    assert same(found, trained()[0]) and config == MODEL


def test_loading_into_another_shape_is_refused(tmp_path: Path) -> None:
    export(tmp_path / "model", params())
    abstract = jax.eval_shape(lambda: params(6))
    with pytest.raises(
        InputError, match=r"model: checkpoint of another shape: .*\(3, 4\) there, \(3, 6\) in the model"
    ):
        load_params(tmp_path / "model", abstract)
    check_shapes(params(), jax.eval_shape(params), tmp_path)


def test_nothing_to_load_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such checkpoint folder"):
        load_params(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no finished stage and no checkpoint"):
        load_params(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"in the release's layout: run experiments\.convert hf-to-jax"):
        load_params(tmp_path)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tensorstore's, as it gives up
def test_a_model_that_lost_a_file_is_refused(tmp_path: Path) -> None:
    export(tmp_path / "model", params())
    shutil.rmtree(tmp_path / "model" / "params" / "d")
    with pytest.raises(InputError, match="params: cannot be read"):
        load_params(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps({"texts": {}}))
    with pytest.raises(InputError, match=r"config\.json: unknown config key texts; did you mean text\?"):
        load_params(tmp_path / "model")
