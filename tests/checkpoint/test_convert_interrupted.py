"""Conversions that cannot write, or are interrupted: what they refuse, what they leave, and how they resume."""

import errno
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_model import golden
from recorded_copies import NAME, Refused
from safetensors.numpy import load_file, save_file

from fac_jax.checkpoint.arrays import StoredArray
from fac_jax.checkpoint.release.convert import export_release, import_release
from fac_jax.checkpoint.release.tensors import INDEX, SINGLE, TensorFolder


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_exits_with_two(
    number: int, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(number, "full")

    with monkeypatch.context() as patch:
        patch.setattr(StoredArray, "write", full)
        assert "the disk is full" in refused("hf-to-jax", kept / "hf", tmp_path / "ours")
    monkeypatch.setattr("fac_jax.checkpoint.release.convert.write_json", full)  # as early as the note of the job
    assert "the disk is full" in refused("hf-to-jax", kept / "hf", tmp_path / "ours")
    assert not list(tmp_path.iterdir())


def test_a_destination_that_cannot_be_made_is_refused(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    (tmp_path / "file").touch()
    assert "file is no folder" in refused("hf-to-jax", kept / "hf", tmp_path / "file" / "ours")
    assert "cannot be made" in refused("hf-to-jax", kept / "hf", "/proc/ours")

    def gone(array: StoredArray, *_: object) -> None:
        shutil.rmtree(tmp_path / "parent", ignore_errors=True)
        raise OSError(errno.ENOENT, "gone")

    (tmp_path / "parent").mkdir()
    monkeypatch.setattr(StoredArray, "write", gone)
    assert "cannot be made" in refused("hf-to-jax", kept / "hf", tmp_path / "parent" / "ours")


def test_a_torn_note_blocks_nothing_and_a_foreign_folder_is_left_alone(
    kept: Path, tmp_path: Path, refused: Refused
) -> None:
    beside = tmp_path / "ours.unfinished"
    beside.mkdir()
    (beside / "notes.txt").write_text("mine")
    assert "is no unfinished conversion" in refused("hf-to-jax", kept / "hf", tmp_path / "ours")
    assert (beside / "notes.txt").read_text() == "mine"
    (beside / "notes.txt").unlink()
    (beside / "job.json").touch()
    import_release(kept / "hf", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]
    assert not (tmp_path / "ours" / "job.json").exists()


def interrupted(items: Any) -> Any:
    for number, item in enumerate(items):
        if number == 60:
            raise KeyboardInterrupt
        yield item


@pytest.mark.parametrize("size", [260_000, 300_000, 2**30])
def test_an_export_that_goes_on_leaves_no_shard_of_another_plan(size: int, kept: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        export_release(kept / "ours", tmp_path / "hf", "float32", 300_000, interrupted)
    export_release(kept / "ours", tmp_path / "hf", "float32", size)
    written = TensorFolder(tmp_path / "hf")
    assert len(written) == len(golden("dense").tensors)
    files = {path.name for path in (tmp_path / "hf").iterdir()} - {"config.json", INDEX}
    assert files == {SINGLE} if size == 2**30 else len(files) == int(sorted(files)[0][-17:-12])


def test_an_export_starts_anew_when_parameters_have_changed(kept: Path, tmp_path: Path) -> None:
    source = tmp_path / "hf"
    shutil.copytree(kept / "hf", source)
    import_release(source, tmp_path / "ours")
    with pytest.raises(KeyboardInterrupt):
        export_release(tmp_path / "ours", tmp_path / "out", "float32", 100_000, interrupted)
    tensors = {name: tensor + 1 for name, tensor in load_file(source / SINGLE).items()}
    save_file(tensors, source / SINGLE)
    import_release(source, tmp_path / "other")
    shutil.rmtree(tmp_path / "ours" / "params")
    (tmp_path / "other" / "params").rename(tmp_path / "ours" / "params")
    export_release(tmp_path / "ours", tmp_path / "out", "float32", 100_000)
    written = TensorFolder(tmp_path / "out")
    for name in (NAME, *list(tensors)[:3], *list(tensors)[-3:]):
        np.testing.assert_array_equal(written[name], tensors[name], err_msg=name)
