"""Bad input at `python -m experiments.convert`: exit code 2, one line that names it, and nothing left behind."""

import errno
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from absl.testing import flagsaver
from golden_model import FOLDER, golden
from launchers import imported
from recorded_copies import FAULTS, NAME, copy_of
from safetensors.numpy import load_file, save_file

from fac_jax import cli
from fac_jax.checkpoint.arrays import StoredArray
from fac_jax.checkpoint.release.convert import export_release, import_release
from fac_jax.checkpoint.release.tensors import INDEX, SINGLE, TensorFolder
from fac_jax.text.tokenizer import train_tokenizer

Change = Callable[[Path], None]
Refused = Callable[..., str]
DENSE = FOLDER / "dense"


@pytest.fixture(scope="module")
def convert() -> Iterator[ModuleType]:
    """The launcher."""
    with imported("experiments.convert") as module:
        yield module


@pytest.fixture
def refused(convert: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs the launcher on words; it must exit with code 2 and one line, which is returned."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, words)])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as exited:
            cli.run_commands(convert.COMMANDS)
        told = capsys.readouterr().err.splitlines()
        assert exited.value.code == cli.BAD_INPUT, told
        assert len(told) == 1 and told[0].startswith("error: "), told
        return told[0]

    return run


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dense recorded checkpoint as it is (`hf`), in shards (`shards`) and as ours (`ours`)."""
    folder = tmp_path_factory.mktemp("kept")
    import_release(copy_of("dense", folder / "hf"), folder / "ours")
    export_release(folder / "ours", folder / "shards", "float32", shard_bytes=200_000)
    return folder


def write(name: str, content: str | bytes) -> Change:
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def config(**changes: Any) -> Change:
    """Changes values of config.json; `text__hidden_act` is that of text_config."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        audio = values["audio_config"]
        parts = {"text": values["text_config"], "audio": audio, "head": audio["crq_transformer_config"], "top": values}
        for key, value in changes.items():
            part, name = key.split("__")
            parts[part][name] = value
        (folder / "config.json").write_text(json.dumps(values))

    return change


def ours(**changes: Any) -> Change:
    """Changes values in the config.json of a model of ours; `text__num_heads` is that of text."""

    def change(folder: Path) -> None:
        values = json.loads((folder / "config.json").read_text())
        for key, value in changes.items():
            part, name = key.split("__")
            (values if part == "top" else values[part])[name] = value
        (folder / "config.json").write_text(json.dumps(values))

    return change


def dangle(folder: Path) -> None:
    (folder / SINGLE).unlink()
    (folder / SINGLE).symlink_to(folder / "nowhere")


def index(text: str) -> Change:
    def change(folder: Path) -> None:
        (folder / SINGLE).unlink()
        (folder / INDEX).write_text(text)

    return change


def other_tokenizer(folder: Path) -> None:
    train_tokenizer(["one plus one is two"], 300, folder / "tokenizer.json")


UNHEARD = {"rope_type": "yarn", "factor": 4.0}
IMPORTS: dict[str, tuple[Change, str]] = {
    "config is a list": (write("config.json", "[]"), "config.json: must hold a JSON object, holds a list"),
    "config is not UTF-8": (write("config.json", b"\xff\xfe{}"), "config.json: not JSON: 'utf-8'"),
    "null number": (
        config(text__num_attention_heads=None),
        "text_config: num_attention_heads is null, must be a whole",
    ),
    "word for a number": (config(audio__d_model="48"), 'audio_config: d_model is "48", must be a whole number above 0'),
    "odd window": (config(audio__n_window=25), "audio_config: n_window 25 is odd"),
    "heads": (config(audio__encoder_attention_heads=5), "d_model 48 is no multiple of encoder_attention_heads 5"),
    "kv heads": (config(text__num_key_value_heads=3), "4 num_attention_heads cannot share 3 num_key_value_heads"),
    "mode": (config(audio__continuous_features_mode="mix"), "continuous_features_mode is 'mix'"),
    "experts": (config(text__num_experts=4, text__num_experts_per_tok="2"), 'num_experts_per_tok is "2"'),
    "rope of nothing": (config(text__rope_theta=0), "text_config: rope_theta is 0, must be a finite"),
    "rope backwards": (config(head__rope_theta=-1.0), "crq_transformer_config: rope_theta is -1.0, must be a finite"),
    "rope is no number": (config(text__rope_theta=float("nan")), "text_config: rope_theta is NaN, must be a finite"),
    "unknown prefill": (
        config(top__fac_jax={"head_prefill": "x"}),
        "fac_jax.head_prefill is 'x'; known: as_",
    ),
    "context in words": (config(top__fac_jax={"context": "x"}), "config key fac_jax.context must be a whole number"),
    "no context": (
        config(top__fac_jax={"context": 0}),
        "model config key context is 0, must be a whole number above 0",
    ),
    "id beyond the rows": (config(text__sil_index=320), "special.sil is 320, must be from 0 to 319"),
    "odd head": (config(text__head_dim=23), "text.head_dim is 23, must be even"),
    "index is a list": (index("[1]"), f"{INDEX}: must hold a JSON object"),
    "weight_map is a list": (index('{"weight_map": ["a"]}'), f'{INDEX}: weight_map is ["a"], must be an object'),
    "weight_map of numbers": (index('{"weight_map": {"a": 1}}'), "weight_map: a is 1, must be a string"),
    "shard is a dangling link": (dangle, f"shard {SINGLE} is missing"),
    "broken tokenizer": (write("tokenizer.json", "{"), "tokenizer file is not JSON"),
    "no tokenizer": (write("tokenizer.json", '{"model": {}}'), "tokenizer.json: no tokenizer"),
    "another tokenizer": (other_tokenizer, "<|im_end|> is 295, in the model 301"),
}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_damaged_release_is_refused(name: str, kept: Path, tmp_path: Path, refused: Refused) -> None:
    change, words = IMPORTS[name]
    shutil.copytree(kept / "hf", tmp_path / "hf")
    change(tmp_path / "hf")
    assert words in refused("hf-to-jax", tmp_path / "hf", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


@pytest.mark.parametrize("name", FAULTS)
def test_faults_of_tensors_exit_with_two(name: str, kept: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(kept / "shards", tmp_path / "hf")
    FAULTS[name][0](tmp_path / "hf")
    refused("hf-to-jax", tmp_path / "hf", tmp_path / "ours")
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]


def test_what_changes_numbers_is_refused_at_once(kept: Path, tmp_path: Path, refused: Refused) -> None:
    shutil.copytree(kept / "hf", tmp_path / "hf")
    config(
        text__use_sliding_window=True,
        text__hidden_act="gelu",
        text__rope_scaling=UNHEARD,
        text__layer_types=["full_attention", "sliding_attention"],
        head__attention_bias=True,
        audio__scale_embedding=True,
        audio__activation_function="relu",
    )(tmp_path / "hf")
    told = refused("hf-to-jax", tmp_path / "hf", tmp_path / "ours")
    for words in (
        *("text_config: use_sliding_window is True", "text_config: hidden_act is 'gelu'"),
        *("rope_scaling is of the type 'yarn'", "layer_types has 'sliding_attention'"),
        *("audio_config.crq_transformer_config: attention_bias is True", "audio_config: scale_embedding is True"),
        "audio_config: activation_function is 'relu', not 'gelu'",
    ):
        assert words in told


def test_rope_of_equal_sections_is_plain(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept / "hf", tmp_path / "hf")
    config(text__rope_scaling={"rope_type": "default", "mrope_section": [4, 4, 4]})(tmp_path / "hf")
    import_release(tmp_path / "hf", tmp_path / "ours")


def cut_params(model: Path) -> None:
    largest = max((file for file in (model / "params").rglob("*") if file.is_file()), key=lambda f: f.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:1000])


EXPORTS: dict[str, tuple[Change, str]] = {
    "truncated parameters": (cut_params, "cannot be read, it is damaged or incomplete"),
    "lost parameters": (lambda model: shutil.rmtree(model / "params" / "d"), "cannot be read, it is damaged"),
    "broken release.json": (write("release.json", "{"), "release.json: not JSON"),
    "release.json of another kind": (write("release.json", '{"config": []}'), "release.json: config is [], must be"),
    "broken config.json": (write("config.json", "[]"), "config.json: must hold a JSON object"),
    "heads in words": (ours(text__num_heads="x"), "config.json: config key text.num_heads must be a whole number"),
    "another dtype": (ours(top__dtype="int8"), "config.json: model config key dtype is 'int8'"),
    "no group": (
        ours(top__group_size=0),
        "model config key group_size is 0, must be",
    ),
    "no eos": (ours(special__eos=None), "config.json: config key special.eos is missing"),
    "rope is no number": (
        ours(text__rope_theta=float("nan")),
        "config key text.rope_theta must be a number",
    ),
    "endless rope": (ours(text__rope_theta=float("inf")), "text.rope_theta is inf, must be a finite number above 0"),
    "unknown key": (ours(top__groupsize=5), "config.json: unknown config key groupsize; did you mean group_size?"),
    "odd window": (ours(audio__n_window=25), "config.json: n_window must be even"),
    "head heads": (ours(head__num_kv_heads=3), "head.num_heads is 4, must be a multiple of head.num_kv_heads"),
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_damaged_model_is_refused(name: str, kept: Path, tmp_path: Path, refused: Refused) -> None:
    change, words = EXPORTS[name]
    shutil.copytree(kept / "ours", tmp_path / "ours")
    change(tmp_path / "ours")
    assert words in refused("jax-to-hf", tmp_path / "ours", tmp_path / "hf")
    assert [path.name for path in tmp_path.iterdir()] == ["ours"]


def test_a_recorded_run_that_cannot_be_read_is_refused(tmp_path: Path, refused: Refused) -> None:
    whole = (DENSE / "io.npz").read_bytes()
    np.save(tmp_path / "one.npy", np.ones(3))
    np.savez(tmp_path / "objects.npz", **{"text/input_ids": np.array([None])})
    for name, content in {
        "empty.npz": b"",
        "truncated.npz": whole[:20_000],
        "one.npy": None,
        "objects.npz": None,
    }.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert f"{name}: no recorded arrays" in refused("verify", DENSE, "--recorded", tmp_path / name)
    np.savez(tmp_path / "other.npz", **{"text/input_ids": np.ones((1, 3), int), "text/logits": np.ones((1, 3, 9))})
    told = refused("verify", DENSE, "--recorded", tmp_path / "other.npz")
    assert "other.npz: text-only logits is" in told and "is it another model's run?" in told


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
