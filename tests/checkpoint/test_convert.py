"""Checkpoints in and out: bit for bit, strict, atomic, and proved against recorded runs."""

import errno
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from golden_model import CASES, FOLDER, golden
from recorded_copies import FAULTS, copy_of

from fac_jax.checkpoint.arrays import StoredArray
from fac_jax.checkpoint.export import load_params
from fac_jax.checkpoint.json_files import Section
from fac_jax.checkpoint.release import convert
from fac_jax.checkpoint.release.config import decoder_config, release_config, to_release_config
from fac_jax.checkpoint.release.convert import export_release, import_release
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.models.config import MoEConfig
from fac_jax.types import InputError

# Cases differ by what their layers hold, and dtypes by no line of code for one case only.
ONE_DTYPE = {"dense": "float32"}


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, marks=[pytest.mark.slow] * (dtype != ONE_DTYPE.get(case, "bfloat16")))
        for case in CASES
        for dtype in ("float32", "bfloat16")
    ],
)
def test_in_and_out_again_is_bit_for_bit(case: str, dtype: str, tmp_path: Path) -> None:
    source = copy_of(case, tmp_path / "source", dtype)
    import_release(source, tmp_path / "ours")
    export_release(tmp_path / "ours", tmp_path / "back", dtype, shard_bytes=200_000)
    before, after = TensorFolder(source), TensorFolder(tmp_path / "back")
    assert set(before) == set(after)
    for name in before:
        assert before[name].dtype == after[name].dtype
        np.testing.assert_array_equal(before[name].view(np.uint8), after[name].view(np.uint8), err_msg=name)
    assert len(list((tmp_path / "back").glob("*.safetensors"))) > 1
    assert {p.name for p in tmp_path.iterdir()} == {"source", "ours", "back"}


@pytest.mark.parametrize("case", CASES)
def test_configurations_go_both_ways(case: str) -> None:
    values = json.loads((FOLDER / case / "config.json").read_text())
    config = golden(case).config
    assert release_config(to_release_config(config)) == config
    back = to_release_config(config, values)
    assert {key for key in values if back[key] != values[key]} <= {"torch_dtype", "audio_config", "text_config"}


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dense recorded checkpoint in several shards."""
    folder = tmp_path_factory.mktemp("sharded")
    import_release(copy_of("dense", folder / "source"), folder / "ours")
    export_release(folder / "ours", folder / "shards", "float32", shard_bytes=200_000)
    return folder / "shards"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(name: str, sharded: Path, tmp_path: Path) -> None:
    change, words = FAULTS[name]
    shutil.copytree(sharded, tmp_path / "source")
    change(tmp_path / "source")
    with pytest.raises(InputError, match=words) as raised:
        import_release(tmp_path / "source", tmp_path / "ours")
    assert "\n" not in str(raised.value)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


def test_a_full_disk_leaves_nothing(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StoredArray, "write", full)
    with pytest.raises(InputError, match="the disk is full"):
        import_release(sharded, tmp_path / "ours")
    monkeypatch.setattr("fac_jax.checkpoint.release.tensors.save_file", full)
    with pytest.raises(InputError, match="the disk is full"):
        export_release(sharded.parent / "ours", tmp_path / "back")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_conversion_goes_on(sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[int, ...]] = []
    write = StoredArray.write

    def interrupted(array: StoredArray, index: tuple[int, ...], piece: np.ndarray) -> None:
        written.append(index)
        if len(written) == 20:
            raise KeyboardInterrupt
        write(array, index, piece)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(StoredArray, "write", interrupted)
        import_release(sharded, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()
    resumed: list[int] = []
    import_release(sharded, tmp_path / "ours", lambda items: (resumed.append(i) or i for i in items))
    assert len(resumed) < len(TensorFolder(sharded))
    jax.tree.map(np.testing.assert_array_equal, load_params(tmp_path / "ours")[0], golden("dense").params)


def test_a_destination_is_never_overwritten(sharded: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with pytest.raises(InputError, match="ours: exists already"):
        convert.import_release(sharded, tmp_path / "ours")


def test_a_raw_config_may_leave_keys_out() -> None:
    least = {"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 96, "num_attention_heads": 4}
    dense = decoder_config(Section({**least, "rope_parameters": {"rope_theta": 5e6}, "head_dim": None}, "here"))
    assert (dense.head_dim, dense.num_kv_heads, dense.norm_eps, dense.rope_theta) == (16, 4, 1e-6, 5e6)
    experts = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "mlp_only_layers": None}
    sparse = decoder_config(Section({**least, **experts, "rope_theta": 1e6}, "here"))
    assert sparse.moe == MoEConfig(8, 2, 16, normalize_top_k=False)
    with pytest.raises(InputError, match="here: rope_parameters: key 'rope_theta' is missing"):
        decoder_config(Section(least, "here"))


def test_the_head_keeps_the_vocabulary_of_its_own_config() -> None:
    values = json.loads((FOLDER / "8b_config.json").read_text())
    back = to_release_config(release_config(values), values)
    assert back["audio_config"]["crq_transformer_config"]["vocab_size"] == 151936


def test_files_beside_the_tensors_go_along(tmp_path: Path) -> None:
    source = copy_of("dense", tmp_path / "source")
    for name in ("generation_config.json", "preprocessor_config.json", "processor_config.json"):
        (source / name).write_text("{}")
    import_release(source, tmp_path / "ours")
    export_release(tmp_path / "ours", tmp_path / "back", "float32")
    assert {path.name for path in (tmp_path / "back").iterdir()} == {path.name for path in source.iterdir()}


def test_shards_can_be_read_by_others(tmp_path: Path) -> None:
    import_release(copy_of("dense", tmp_path / "hf"), tmp_path / "ours")
    export_release(tmp_path / "ours", tmp_path / "out", "float32")
    assert (tmp_path / "out" / "model.safetensors").stat().st_mode & 0o444 == 0o444
