"""`python -m experiments.generate`: every mode of an untrained model, and bad input as one line and exit code 2."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.generate import ask, question
from fac_jax.audio import io
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.checkpoint.export import export_model, load_params
from fac_jax.codec.base import load_codec
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.generation.decode import Decoding
from fac_jax.models import config as model_config
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.models.presets import preset
from fac_jax.text.tokenizer import train_tokenizer
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
UNITS = 128  # as many as the tiny voice has


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model on disk, with its tokenizer and its codec."""
    folder = tmp_path_factory.mktemp("generate")
    tokenizer = train_tokenizer(["what is two plus three"], 300, folder / "tokenizer.json")
    noise = np.random.default_rng(0).normal(size=16000 * 6).astype(np.float32) * 0.1
    codec = UnitCodec.fit([noise], UnitCodecConfig(units=UNITS, iterations=2))
    codec.save(folder / "codec")
    small = {"width": 16, "depth": 1, "mlp_width": 32, "num_heads": 2, "num_kv_heads": 1, "head_dim": 8}
    config = preset(
        "tiny",
        text=small,
        head=small,
        audio={"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32},
        vocab_size=tokenizer.vocab_size,
        codebook_size=UNITS + 4,
        special=tokenizer.special_ids(UNITS),
    )
    params = init_params(config, jax.random.key(0))
    assets = {"tokenizer.json": folder / "tokenizer.json", "codec": folder / "codec"}
    export_model(folder / "model", params, config, {"stage": "none", "order": 0, "steps": 0}, assets)
    return folder / "model"


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
def test_every_mode_answers(mode: str, model: Path, files: Path) -> None:
    asked = question(mode, str(files / "good.wav") if mode[0] == "s" else None, "" if mode[0] == "s" else "what is two")
    stream = "joint" if mode.endswith("2s") else "text"
    answer, codec = ask(model, asked, Decoding(stream, 4), seed=0)
    assert isinstance(answer.text, str)
    assert codec.units == UNITS if codec is not None else stream == "text"
    assert np.all((answer.units >= 0) & (answer.units < UNITS))
    assert stream == "joint" or answer.units.size == 0


def test_a_model_without_its_encoder_hears_a_file_by_its_codec(model: Path, files: Path, tmp_path: Path) -> None:
    values = json.loads((model / "config.json").read_text())
    config = model_config.from_dict({**values, "user_audio": "tokens"})
    params, _ = load_params(model)
    broken = params | {"encoder": jax.tree.map(lambda leaf: leaf * np.nan, params["encoder"])}
    assets = {"tokenizer.json": model / "tokenizer.json", "codec": model / "codec"}
    asked, found = str(files / "good.wav"), []
    for name, made in (("whole", params), ("broken", broken)):
        export_model(tmp_path / name, made, config, {"stage": "none", "order": 0, "steps": 0}, assets)
        answer, codec = ask(tmp_path / name, question("s2s", asked, ""), Decoding("joint", 4), seed=0)
        assert codec is not None
        found.append((answer.text, answer.units.tolist()))
    assert found[0] == found[1] and any(found[0])
    shutil.rmtree(tmp_path / "whole" / "codec")
    with pytest.raises(InputError, match=r"no codec in .*whole/codec: codec\.json not found"):
        ask(tmp_path / "whole", question("s2t", asked, ""), Decoding("text", 4), seed=0)


def test_another_codec_of_the_same_ids_speaks(model: Path, voice_folder: Path) -> None:
    asked = question("t2s", None, "what is two")
    own, own_codec = ask(model, asked, Decoding("joint", 8), seed=0)
    answer, codec = ask(model, asked, Decoding("joint", 8), seed=0, codec_folder=str(voice_folder))
    np.testing.assert_array_equal(answer.units, own.units)
    assert isinstance(own_codec, UnitCodec) and isinstance(codec, CosyVoice3) and answer.units.size
    wave = codec.decode(answer.units)
    assert codec.rate == 24000 and len(wave) == 960 * answer.units.size and np.abs(wave).max() > 1e-3


def test_a_model_whose_codec_json_refers_to_the_voice_speaks_with_it(
    model: Path, voice_folder: Path, tmp_path: Path
) -> None:
    switched = shutil.copytree(model, tmp_path / "model")
    shutil.rmtree(switched / "codec")
    load_codec(voice_folder).save(switched / "codec")
    _, codec = ask(switched, question("t2s", None, "what is two"), Decoding("joint", 4), seed=0)
    assert isinstance(codec, CosyVoice3)


def test_a_codec_without_its_weights_or_of_other_ids_is_refused(
    model: Path, voice_folder: Path, tmp_path: Path
) -> None:
    asked = question("t2s", None, "what is two")
    for file in voice_folder.iterdir():
        if file.stem != "flow":
            (tmp_path / file.name).symlink_to(file)
    missing = f"{tmp_path}/flow.safetensors; it is made from flow.pt of FunAudioLLM/Fun-CosyVoice3-0.5B-2512"
    with pytest.raises(InputError, match=missing):
        ask(model, asked, Decoding("joint", 4), seed=0, codec_folder=str(tmp_path))
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    UnitCodec.fit([noise], UnitCodecConfig(units=4, iterations=2)).save(tmp_path / "small")
    with pytest.raises(InputError, match="small has 4 ids, the model speaks 128"):
        ask(model, asked, Decoding("joint", 4), seed=0, codec_folder=str(tmp_path / "small"))


def test_instruction_beside_audio_is_part_of_the_prompt(model: Path, files: Path) -> None:
    plain = question("s2t", str(files / "good.wav"), "")
    told = question("s2t", str(files / "good.wav"), "what is two")
    assert plain.turns[0].text == "" and told.turns[0].text == "what is two"


BAD: dict[str, tuple[str, str]] = {
    "missing.wav": ("missing.wav", "missing.wav"),
    "empty.wav": ("empty.wav", "empty"),
    "corrupt.wav": ("corrupt.wav", "corrupt.wav"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_bad_audio_names_the_file(name: str, files: Path) -> None:
    with pytest.raises(InputError, match=BAD[name][1]):
        question("s2t", str(files / name), "")


@pytest.mark.parametrize(
    ("name", "message"),
    [("short.wav", "shorter than one speech token"), ("long.wav", "LLM positions, the context has")],
)
def test_audio_of_unfit_length_names_the_file(name: str, message: str, model: Path, files: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ask(model, question("s2t", str(files / name), ""), Decoding("text", 4), seed=0)
    assert name in str(caught.value)


@pytest.mark.parametrize(("mode", "audio", "text"), [("s2t", None, "x"), ("t2t", None, ""), ("t2s", "a.wav", "x")])
def test_a_mode_without_its_input_is_refused(mode: str, audio: str | None, text: str) -> None:
    with pytest.raises(InputError, match=f"--mode {mode}"):
        question(mode, audio, text)


def test_a_checkpoint_of_another_shape_names_the_parameter(model: Path, tmp_path: Path) -> None:
    other = tmp_path / "model"
    other.mkdir()
    for name in ("params", "tokenizer.json"):
        (other / name).symlink_to(model / name)
    values = json.loads((model / "config.json").read_text())
    changed = model_config.replace(model_config.from_dict(values), text={"mlp_width": 48})
    (other / "config.json").write_text(json.dumps(model_config.to_dict(changed)))
    with pytest.raises(InputError, match=r"mlp/(down|gate|up)/kernel"):
        ask(other, Conversation("x", "", (Turn("user", "x"),)), Decoding("text", 4), seed=0)


@pytest.fixture(scope="module")
def launched(model: Path, files: Path) -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """Some of the above as a user meets them, and one answer; side by side, as each is a process of its own."""
    arguments = {
        "answer": ["--audio", str(files / "good.wav"), "--out", str(files / "reply.wav"), "--max_steps", "4"],
        "corrupt": ["--audio", str(files / "corrupt.wav"), "--out", str(files / "never.wav")],
        "no out": ["--audio", str(files / "good.wav")],
    }

    def launch(name: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "experiments.generate", "--checkpoint", str(model), *arguments[name]]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(arguments, pool.map(launch, arguments), strict=True))


@pytest.mark.parametrize(("name", "message"), [("corrupt", "corrupt.wav"), ("no out", "--out")])
def test_bad_input_is_one_line_and_exit_code_two(name: str, message: str, launched, files: Path) -> None:
    result = launched[name]
    assert result.returncode == 2
    assert message in result.stderr and result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert not (files / "never.wav").exists()


def test_the_launcher_writes_a_reply_or_says_that_nothing_was_spoken(launched, files: Path) -> None:
    result = launched["answer"]
    if result.returncode == 0:
        assert len(io.load(files / "reply.wav")) > 0
    else:
        assert result.returncode == 2 and "spoke nothing" in result.stderr
