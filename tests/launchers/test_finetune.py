"""A bfloat16 model of the released layout, fine-tuned by the commands of docs/finetuning.md, and back."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from record_run import make_config, run, write_initial
from user_rows import PLACEHOLDER, heard, release_row, save, spoken, write_jsonl

from fac_jax.checkpoint.export import load_params
from fac_jax.checkpoint.release.convert import export_release, import_release
from fac_jax.checkpoint.release.tensors import TensorFolder


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the release's layout in bfloat16 in `hf`, and what `convert hf-to-jax` makes of it in `ours`."""
    folder = tmp_path_factory.mktemp("released")
    export_release(write_initial(folder / "made"), folder / "hf", "bfloat16")
    import_release(folder / "hf", folder / "ours")
    return folder


def rows(folder: Path) -> Path:
    """Conversations that use all of the model: heard, written and spoken, with the ids of every unit."""
    save(folder / "a.wav", 1.0)
    text = "the quick brown fox jumps over the lazy dog"
    made: list[dict[str, Any]] = [
        release_row(PLACEHOLDER, PLACEHOLDER, audio=[heard("a.wav", 1.0), spoken(text, range(16))], id=f"r{number}")
        for number in range(4)
    ]
    return write_jsonl(folder / "rows.jsonl", made)


def test_ten_steps_move_nearly_all_parameters_of_a_bfloat16_release(released: Path, tmp_path: Path, figures) -> None:
    config = make_config(released / "ours", {"mine": {"path": str(rows(tmp_path))}}, steps=10)
    assert config.stages.finetune.optimizer.peak == 1e-5
    found, _ = run(config, tmp_path)
    before, after = (load_params(folder)[0] for folder in (released / "ours", tmp_path / "run"))
    assert {leaf.dtype for leaf in jax.tree.leaves(after)} == {np.dtype(np.float32)}
    moved = jax.tree.map(lambda old, new: np.asarray(old, np.float32) != np.asarray(new), before, after)
    # Words that no row says have no gradient where the LLM reads them. They are most of this model, and stay.
    data = found.train_data(found.config.stages[0], before, tmp_path / "again")
    read = np.unique(np.asarray(next(data).batch.text_ids))
    data.close()
    embed = moved["backbone"]["embed"]
    unread = np.delete(embed["embedding"], read, axis=0)
    assert not unread.any()
    embed["embedding"] = embed["embedding"][read]
    share = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(moved)]).mean()
    figures.at_least("bfloat16 release, ten steps at 1e-5: parameters moved", float(share), 0.99)


def test_a_trained_release_goes_back(released: Path, tmp_path: Path) -> None:
    run(make_config(released / "ours", {"mine": {"path": str(rows(tmp_path))}}), tmp_path)
    export_release(tmp_path / "run", tmp_path / "hf", "float32")
    before, after = TensorFolder(released / "hf"), TensorFolder(tmp_path / "hf")
    assert before.shapes == after.shapes
    assert any(np.any(np.asarray(before[name]) != np.asarray(after[name])) for name in before)
    import_release(tmp_path / "hf", tmp_path / "again")
    trained, again = (load_params(folder)[0] for folder in (tmp_path / "run", tmp_path / "again"))
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a).astype(b.dtype), b), trained, again)
