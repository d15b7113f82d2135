"""A starting checkpoint from a text model, an audio encoder and a refined head of three folders."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from golden_model import FOLDER, golden
from recorded_copies import part
from safetensors.numpy import load_file, save_file

from fac_jax.checkpoint.export import load_params
from fac_jax.checkpoint.release.assemble import Assembled, assemble
from fac_jax.checkpoint.release.convert import export_release
from fac_jax.checkpoint.release.names import QWEN3, QWEN3_HEAD, QWEN3_VL, WHISPER
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.types import InputError

UNITS = 92


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    values = json.loads((FOLDER / "dense" / "config.json").read_text())
    text, audio = values["text_config"], values["audio_config"]
    unused = ("model.encoder.embed_positions.weight", "model.decoder.layers.0.fc1.bias", "proj_out.weight")
    made = {
        "text": part(tmp_path / "text", QWEN3, text),
        "audio": part(tmp_path / "audio", WHISPER, audio, unused),
        "head": part(tmp_path / "head", QWEN3_HEAD, audio["crq_transformer_config"], ("model.embed_tokens.weight",)),
    }
    train_tokenizer(["one plus one is two"], 300, made["text"] / "tokenizer.json")
    return made


def build(folders: dict[str, Path], destination: Path) -> Assembled:
    return assemble(**folders, destination=destination, units=UNITS, dtype="float32", seed=0)


def test_three_folders_make_a_model_and_what_is_fresh_is_named(folders: dict[str, Path], tmp_path: Path) -> None:
    made = build(folders, tmp_path / "start")
    fresh = made.fresh
    assert made.dtypes == dict.fromkeys(folders, "float32")
    assert {name.split(".")[0] for name in fresh} == {"encoder", "speech_embedder", "refined_head"}
    assert {name for name in fresh if name.startswith("encoder")} == {
        *("encoder.proj.kernel", "encoder.proj.bias", "encoder.bos_eos")
    }
    params, config = load_params(tmp_path / "start")
    theirs = golden("dense").params
    for tree in (lambda p: p["backbone"], lambda p: p["encoder"]["layers"], lambda p: p["refined_head"]["decoder"]):
        jax.tree.map(np.testing.assert_array_equal, tree(params), tree(theirs))
    assert np.std(params["encoder"]["proj"]["kernel"]) > 0
    assert config.codebook_size == UNITS + 4
    assert config.special == Tokenizer.load(tmp_path / "start").special_ids(UNITS)


def test_qwen3_vl_gives_its_text_part(folders: dict[str, Path], tmp_path: Path) -> None:
    values = json.loads((folders["text"] / "config.json").read_text())
    text = part(
        tmp_path / "vl", QWEN3_VL, {"model_type": "qwen3_vl", "text_config": values}, ("model.visual.patch.weight",)
    )
    (text / "tokenizer.json").write_bytes((folders["text"] / "tokenizer.json").read_bytes())
    build({**folders, "text": text}, tmp_path / "start")
    params, _ = load_params(tmp_path / "start")
    np.testing.assert_array_equal(
        params["backbone"]["embed"]["embedding"], golden("dense").params["backbone"]["embed"]["embedding"]
    )


def test_parts_that_go_out_come_in_again(folders: dict[str, Path], tmp_path: Path) -> None:
    build(folders, tmp_path / "start")
    (tmp_path / "out").mkdir()
    for name in ("text", "audio"):
        export_release(tmp_path / "start", tmp_path / "out" / name, "float32", shard_bytes=100_000, part=name)
    build({**folders, "text": tmp_path / "out" / "text", "audio": tmp_path / "out" / "audio"}, tmp_path / "again")
    params, again = (load_params(tmp_path / name)[0] for name in ("start", "again"))
    jax.tree.map(np.testing.assert_array_equal, params, again)  # what is fresh comes from the same seed


def test_every_source_is_of_one_dtype_and_its_ties_hold(folders: dict[str, Path], tmp_path: Path) -> None:
    file = folders["audio"] / "model.safetensors"
    tensors = load_file(file)
    name = "model.encoder.conv1.bias"
    save_file({**tensors, "proj_out.weight": np.zeros(1, np.float16)}, file)  # what is not used may be of any
    build(folders, tmp_path / "start")
    save_file({**tensors, name: tensors[name].astype(np.float16)}, file)
    with pytest.raises(InputError, match="audio: tensors of different dtypes: .*conv1.bias is float16"):
        build(folders, tmp_path / "again")
    save_file(tensors, file)
    config = folders["text"] / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    with pytest.raises(InputError, match="lm_head.weight differs from model.embed_tokens.weight"):
        build(folders, tmp_path / "again")


def test_what_transformers_leaves_out_is_what_it_takes(folders: dict[str, Path], tmp_path: Path) -> None:
    for name in ("text", "head"):
        config = folders[name] / "config.json"
        left = {"tie_word_embeddings", "rms_norm_eps", "attention_bias", "hidden_act", "use_sliding_window"}
        values = json.loads(config.read_text())
        config.write_text(json.dumps({key: value for key, value in values.items() if key not in left}))
    build(folders, tmp_path / "start")
    _, config = load_params(tmp_path / "start")
    assert not config.tie_embeddings and config.text.norm_eps == 1e-6


def test_faults_are_one_line_and_leave_nothing(folders: dict[str, Path], tmp_path: Path) -> None:
    (folders["text"] / "tokenizer.json").rename(tmp_path / "kept")
    with pytest.raises(InputError, match="tokenizer.json: no such file"):
        build(folders, tmp_path / "start")
    (tmp_path / "kept").rename(folders["text"] / "tokenizer.json")
    damaged = {**folders, "head": tmp_path / "damaged"}
    damaged["head"].mkdir()
    for text, words in {"{": "not JSON", "[]": "must hold a JSON object"}.items():
        (damaged["head"] / "config.json").write_text(text)
        with pytest.raises(InputError, match=f"damaged.config.json: {words}"):
            build(damaged, tmp_path / "start")
    with pytest.raises(InputError, match="is no text model; known: qwen3"):
        build({**folders, "text": folders["audio"]}, tmp_path / "start")
    config = folders["audio"] / "config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "d_model"}))
    with pytest.raises(InputError, match=r"audio.config.json: key 'd_model' is missing"):
        build(folders, tmp_path / "start")
    assert not list(tmp_path.glob("start*"))
