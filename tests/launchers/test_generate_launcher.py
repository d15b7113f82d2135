"""`python -m experiments.generate`: every mode of an untrained model, and bad input as one line and exit code 2."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest
from initial import initial_params
from launchers import called, imported, launched
from small_speaker import small_config

from fac_jax.api import Model
from fac_jax.audio import io
from fac_jax.checkpoint.export import export_model, load_params
from fac_jax.codec.base import load_codec
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.config import from_tree
from fac_jax.generation.slots import Decoding
from fac_jax.models.config import ModelConfig, replace
from fac_jax.text.tokenizer import train_tokenizer
from fac_jax.types import InputError

UNITS = 128  # as many as the tiny voice has


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model on disk, with its tokenizer and its codec."""
    folder = tmp_path_factory.mktemp("generate")
    tokenizer = train_tokenizer(["what is two plus three"], 300, folder / "tokenizer.json")
    noise = np.random.default_rng(0).normal(size=16000 * 6).astype(np.float32) * 0.1
    codec = UnitCodec.fit([noise], UnitCodecConfig(units=UNITS, iterations=2))
    codec.save(folder / "codec")
    config = small_config(tokenizer, UNITS)
    params = initial_params(config)
    assets = {"tokenizer.json": folder / "tokenizer.json", "codec": folder / "codec"}
    export_model(folder / "model", params, config, {"stage": "none", "order": 0, "steps": 0}, assets)
    return folder / "model"


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    """The launcher, for its functions."""
    with imported("experiments.generate") as launcher:
        yield launcher


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good and bad audio files."""
    folder = tmp_path_factory.mktemp("audio")
    wave = np.sin(np.arange(16000, dtype=np.float32) / 20) * 0.3
    io.save_wav(folder / "good.wav", wave, 16000)
    io.save_wav(folder / "long.wav", np.tile(wave, 60), 16000)
    io.save_wav(folder / "short.wav", wave[:300], 16000)
    (folder / "empty.wav").write_bytes(b"")
    (folder / "corrupt.wav").write_bytes(b"RIFF" + bytes(range(200)))
    return folder


@pytest.mark.parametrize("mode", ["s2s", "s2t", "t2s", "t2t"])
def test_every_mode_responds(mode: str, model: Path, files: Path, generate: ModuleType) -> None:
    heard, text = (str(files / "good.wav"), "") if mode[0] == "s" else (None, "what is two")
    stream = "joint" if mode.endswith("2s") else "text"
    asked = generate.question(mode, heard, text)
    (reply,) = Model.load(model).respond_to([asked], Decoding(stream, 4), 0)
    assert isinstance(reply.text, str)
    assert np.all((reply.units >= 0) & (reply.units < UNITS))
    assert stream == "joint" or reply.units.size == 0


def test_model_without_encoder_hears_codec_ids(model: Path, files: Path, tmp_path: Path, generate: ModuleType) -> None:
    values = json.loads((model / "config.json").read_text())
    config = from_tree(ModelConfig, {**values, "user_audio": "tokens"})
    params, _ = load_params(model)
    broken = params | {"encoder": jax.tree.map(lambda leaf: leaf * np.nan, params["encoder"])}
    assets = {"tokenizer.json": model / "tokenizer.json", "codec": model / "codec"}
    asked, found = generate.question("s2s", str(files / "good.wav"), ""), []
    for name, weights in (("whole", params), ("broken", broken)):
        export_model(tmp_path / name, weights, config, {"stage": "none", "order": 0, "steps": 0}, assets)
        (reply,) = Model.load(tmp_path / name).respond_to([asked], Decoding("joint", 4), 0)
        found.append((reply.text, reply.units.tolist()))
    assert found[0] == found[1] and any(found[0])
    shutil.rmtree(tmp_path / "whole" / "codec")
    with pytest.raises(InputError, match="no codec in"):
        Model.load(tmp_path / "whole").respond_to([asked], Decoding("text", 4), 0)


def test_codec_option_speaks_the_same_ids(model: Path, voice_folder: Path, generate: ModuleType) -> None:
    asked = [generate.question("t2s", None, "what is two")]
    (own,) = Model.load(model).respond_to(asked, Decoding("joint", 8), 0)
    (reply,) = Model.load(model, voice_folder).respond_to(asked, Decoding("joint", 8), 0)
    np.testing.assert_array_equal(reply.units, own.units)
    assert own.rate == 16000 and reply.rate == 24000 and reply.units.size
    assert len(reply.wave) == 960 * reply.units.size and np.abs(reply.wave).max() > 1e-3


def test_codec_json_of_a_model_may_refer_to_the_voice(model: Path, voice_folder: Path, tmp_path: Path) -> None:
    switched = shutil.copytree(model, tmp_path / "model")
    shutil.rmtree(switched / "codec")
    load_codec(voice_folder).save(switched / "codec")
    assert isinstance(Model.load(switched).codec, CosyVoice3)


def test_codec_of_other_ids_is_refused(model: Path, tmp_path: Path, generate: ModuleType) -> None:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    UnitCodec.fit([noise], UnitCodecConfig(units=4, iterations=2)).save(tmp_path / "small")
    asked = [generate.question("t2s", None, "what is two")]
    with pytest.raises(InputError, match="small has 4 ids, the model speaks 128"):
        Model.load(model, tmp_path / "small").respond_to(asked, Decoding("joint", 4), 0)


def test_instruction_follows_the_audio(files: Path, generate: ModuleType) -> None:
    plain = generate.question("s2t", str(files / "good.wav"), "")
    instructed = generate.question("s2t", str(files / "good.wav"), "what is two", system="be kind")
    assert plain.turns[0].text == "" and instructed.turns[0].text == "what is two"
    assert instructed.system == "be kind" != plain.system


@pytest.mark.parametrize("name", ["missing.wav", "empty.wav", "corrupt.wav", "short.wav"])
def test_bad_audio_names_the_file(name: str, files: Path, generate: ModuleType) -> None:
    with pytest.raises(InputError, match=name):
        generate.question("s2t", str(files / name), "")


def test_audio_beyond_the_context_names_seconds_and_max_steps(model: Path, files: Path, generate: ModuleType) -> None:
    asked, loaded = [generate.question("s2t", str(files / "long.wav"), "")], Model.load(model)
    with pytest.raises(InputError, match=r"long.wav: .* the context has 192 for it with max_steps=64: 60.0 s of audio"):
        loaded.respond_to(asked, Decoding("text", 64), 0)
    with pytest.raises(InputError, match="max_steps=1000 leaves no room in the context of 256"):
        loaded.respond_to(asked, Decoding("text", 1000), 0)


@pytest.mark.parametrize(("mode", "audio", "text"), [("s2t", None, "x"), ("t2t", None, ""), ("t2s", "a.wav", "x")])
def test_a_mode_without_its_input_is_refused(mode: str, audio: str | None, text: str, generate: ModuleType) -> None:
    with pytest.raises(InputError, match=f"--mode {mode}"):
        generate.question(mode, audio, text)


def test_checkpoint_of_another_shape_names_the_parameter(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    for name in ("params", "tokenizer.json"):
        (other / name).symlink_to(model / name)
    values = json.loads((model / "config.json").read_text())
    changed = replace(from_tree(ModelConfig, values), text={"mlp_width": 48})
    (other / "config.json").write_text(json.dumps(dataclasses.asdict(changed)))
    with pytest.raises(InputError, match=r"mlp/(down|gate|up)/kernel"):
        Model.load(other)


@pytest.mark.parametrize("out", ["", "/proc/reply.wav", "reply.mp3", "FOLDER"])
def test_out_is_checked_before_anything_is_loaded(out: str, tmp_path: Path) -> None:
    out = str(tmp_path) if out == "FOLDER" else out
    with pytest.raises(InputError, match="--out"):
        called("experiments.generate", "--checkpoint=gone", "--mode=t2s", "--text=what", f"--out={out}")


def test_a_file_of_questions(model: Path, files: Path, tmp_path: Path, capsys) -> None:
    rows = [{"id": "heard\u2028", "audio": "good.wav", "text": "what is two"}, {"audio": "good.wav", "system": "what"}]
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = (f"--checkpoint={model}", f"--prompts={files / 'rows.jsonl'}", "--max_steps=8", "--rows=2")
    called("experiments.generate", *options, f"--out={tmp_path / 'waves'}")
    printed = capsys.readouterr()
    found = [json.loads(line) for line in printed.out.split("\n")[:-1]]
    assert [one["id"] for one in found] == ["heard\u2028", "0002"]
    for one in found:
        assert one["finished"] or f"{one['id']}: (cut at 8)" in printed.err
        assert (one["wave"] is None) == (one["seconds"] == 0)
        if one["wave"]:
            assert len(io.load(one["wave"])) / 16_000 == pytest.approx(one["seconds"], abs=1e-3)
    kept = tmp_path / "waves" / "replies.jsonl"
    assert kept.read_text() == printed.out
    kept.write_text(printed.out.split("\n")[0] + "\n" + '{"id": "00')  # as a kill may leave it
    called("experiments.generate", *options, f"--out={tmp_path / 'waves'}")
    again = capsys.readouterr()
    assert again.out == printed.out.split("\n")[1] + "\n" and kept.read_text() == printed.out
    assert "1 of 2 were answered before" in again.err
    (files / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(InputError, match="holds replies that were made with another prompts"):
        called("experiments.generate", *options, f"--out={tmp_path / 'waves'}")
    (files / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match="holds replies that were made with another seed"):
        called("experiments.generate", *options, f"--out={tmp_path / 'waves'}", "--seed=1")
    for bad in ('{"audio": "good.wav", "prompt": "x"}', '{"audio": 1}', '{"id": "a/b", "audio": "good.wav"}', "[]"):
        (files / "bad.jsonl").write_text(bad + "\n")
        with pytest.raises(InputError, match="bad.jsonl"):
            called("experiments.generate", f"--checkpoint={model}", f"--prompts={files / 'bad.jsonl'}", "--mode=s2t")


def test_exit_code_of_bad_input(model: Path, files: Path) -> None:
    options = ["--checkpoint", str(model), "--audio", str(files / "corrupt.wav"), "--out", str(files / "never.wav")]
    result = launched("experiments.generate", *options)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and "corrupt.wav" in result.stderr and result.stderr.count("\n") == 1
    assert not (files / "never.wav").exists()
