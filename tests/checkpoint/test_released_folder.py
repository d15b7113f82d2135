"""An export of ours is a whole released folder: PyTorch's classes have run the one in tests/golden/export."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import jax
import jinja2
import numpy as np
import pytest
import tokenizers
from export_example import ORIGIN

from fac_jax.audio.mel import HOP, RATE, log_mel
from fac_jax.checkpoint.export import export_model
from fac_jax.checkpoint.release.config import load_release_config
from fac_jax.checkpoint.release.convert import export_release, import_release
from fac_jax.checkpoint.release.load import load_release
from fac_jax.checkpoint.release.params import from_release
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.evaluation.parity.model import compare
from fac_jax.models.config import replace
from fac_jax.text.chat import AudioPiece, Turn, render
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.special_ids import speech_special_ids
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

FOLDER = Path(__file__).parents[1] / "golden" / "export"
RECORDED = ("io.npz", "README.md")  # not part of the export
CONFIG = load_release_config(FOLDER)


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "io.npz") as found:
        return dict(found)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of the export, as a folder of ours that no release has touched."""
    folder = tmp_path_factory.mktemp("export") / "model"
    params = jax.tree.map(jax.numpy.asarray, from_release(TensorFolder(FOLDER), CONFIG))
    export_model(folder, params, CONFIG, ORIGIN, {"tokenizer.json": FOLDER / "tokenizer.json"})
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if name not in RECORDED}


def test_what_pytorch_computed_is_what_we_compute(arrays: dict[str, np.ndarray]) -> None:
    config = replace(CONFIG, head_prefill="release")
    figures = list(compare(from_release(TensorFolder(FOLDER), config), config, arrays))
    assert len(figures) == 14
    assert not [figure for figure in figures if not figure.holds]


def test_an_export_is_still_the_folder_that_pytorch_ran(model: Path, tmp_path: Path) -> None:
    export_release(model, tmp_path / "hf", "float32")
    ours, theirs = contents(tmp_path / "hf"), contents(FOLDER)
    assert ours.keys() == theirs.keys()
    assert [name for name in theirs if ours[name] != theirs[name]] == []


def test_a_released_folder_keeps_its_own_files(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "source", ignore=shutil.ignore_patterns(*RECORDED))
    for name in ("chat_template.jinja", "speech_tokenizer/tokenizer_config.json"):
        (tmp_path / "source" / name).write_text("another")
    import_release(tmp_path / "source", tmp_path / "ours")
    export_release(tmp_path / "ours", tmp_path / "back", "float32")
    assert contents(tmp_path / "back") == contents(tmp_path / "source")


def test_a_model_computes_in_the_dtype_that_its_folder_names(model: Path, tmp_path: Path) -> None:
    export_release(model, tmp_path / "hf", "bfloat16")
    params, config = load_release(tmp_path / "hf")
    assert config.dtype == config.param_dtype == "bfloat16"
    file = tmp_path / "hf" / "config.json"
    values = json.loads(file.read_text())
    file.write_text(json.dumps(values | {"fac_jax": values.get("fac_jax", {}) | {"dtype": "float32"}}))
    wide, config = load_release(tmp_path / "hf")
    assert config.dtype == config.param_dtype == "float32"
    for stored, read in zip(jax.tree.leaves(params), jax.tree.leaves(wide), strict=True):
        assert np.asarray(read).dtype == np.float32
        np.testing.assert_array_equal(np.asarray(read), np.asarray(stored).astype(np.float32))
    file.write_text(json.dumps(values | {"fac_jax": {"dtype": "float16"}}))
    with pytest.raises(InputError, match="fac_jax.dtype is 'float16', not one of float32, bfloat16"):
        load_release(tmp_path / "hf")


def test_parts_get_the_files_that_their_classes_read(model: Path, tmp_path: Path) -> None:
    export_release(model, tmp_path / "text", "float32", part="text")
    text = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}
    assert contents(tmp_path / "text").keys() == text | {"chat_template.jinja", "generation_config.json"}
    export_release(model, tmp_path / "audio", "float32", part="audio")
    assert contents(tmp_path / "audio").keys() == {"config.json", "model.safetensors"}


def test_a_tokenizer_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path / "other")
    values = json.loads((model / "config.json").read_text())
    values["special"]["eos"] = CONFIG.special.sil
    (tmp_path / "other" / "config.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match="not the tokenizer of this model"):
        export_release(tmp_path / "other", tmp_path / "hf")


def ids_of(system: str, turns: Sequence[Turn], groups: int) -> list[int]:
    """Text ids of a prompt of ours, its audio as placeholders."""
    pieces = render(system, turns, Tokenizer.load(FOLDER), add_generation_prompt=True)
    found: list[int] = []
    for piece in pieces:
        found += [CONFIG.special.audio] * groups if isinstance(piece, AudioPiece) else piece.ids
    return found


@pytest.mark.parametrize(("run", "system"), [("s2t", SYSTEM_TEXT), ("s2s", SYSTEM_JOINT)])
def test_the_processor_made_our_prompt(run: str, system: str, arrays: dict[str, np.ndarray]) -> None:
    wave = arrays["prompt/wave"]
    count = int(25 * len(wave) / 16_000)
    groups = -(-count // CONFIG.group_size)
    assert arrays[f"{run}/in/input_ids"][0].tolist() == ids_of(system, [Turn("user", audio=0)], groups)
    assert arrays[f"{run}/in/speech_attention_mask"].sum() == count
    assert set(arrays[f"{run}/in/speech_ids"].ravel().tolist()) == {CONFIG.special.speech_pad}
    padded = np.pad(wave, (0, 30 * RATE - len(wave)))  # as the release's processor does
    mel = np.asarray(log_mel(padded))[: -(-len(wave) // HOP)]
    np.testing.assert_allclose(arrays[f"{run}/in/input_features"][0].T, mel, atol=1e-4)


def test_the_chat_template_writes_our_turns() -> None:
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(
        (FOLDER / "chat_template.jinja").read_text()
    )
    audio = [{"type": "audio"}, {"type": "text", "text": "\nwrite it down"}]
    messages = [
        {"role": "system", "content": SYSTEM_TEXT},
        {"role": "user", "content": audio},
        {"role": "assistant", "content": "one plus one"},
        {"role": "user", "content": "and now?"},
    ]
    text = template.render(messages=messages, add_generation_prompt=True)
    turns = [Turn("user", "write it down", audio=0), Turn("assistant", "one plus one"), Turn("user", "and now?")]
    core = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    assert core.encode(text).ids == ids_of(SYSTEM_TEXT, turns, groups=1)


def test_speech_ids_have_the_names_of_the_release() -> None:
    core = tokenizers.Tokenizer.from_file(str(FOLDER / "speech_tokenizer" / "tokenizer.json"))
    special = speech_special_ids(CONFIG.units)
    text = "<|audio_bos|><|audio_bos|>[AU0000][AU0031]<|audio_eos|><|audio_pad|>"
    ids = [special["speech_bos"]] * 2 + [0, 31, special["speech_eos"], special["speech_pad"]]
    assert core.encode(text).ids == ids
    assert core.decode(ids, skip_special_tokens=False) == text
    assert core.encode("[AU0032]").ids == [special["speech_unk"]]
