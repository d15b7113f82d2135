"""`experiments.codec`, and the commands of `experiments.convert` for the codec."""

from pathlib import Path

import numpy as np
import pytest
from golden_codec import FOLDER, ids
from launchers import called, imported, launched

from fac_jax.audio import io
from fac_jax.codec.base import load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.types import InputError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["experiments.convert", "codec", "EMPTY", "out"], "speech_tokenizer_v3.onnx: no such file; it is"),
        (["experiments.convert", "verify-codec", "EMPTY"], "holds none of s3tokenizer, flow, hift, token2wav"),
        (["experiments.codec", "decode", "a.npy", "a.wav", "--codec=EMPTY"], "no codec in"),
        (["experiments.codec", "decode", "a.npy", "a.mp3", "--codec=EMPTY"], "OUT=a.mp3: the file is"),
        (
            ["experiments.codec", "encode", "a.wav", "--codec=EMPTY", "--out=/proc/x"],
            "--out=/proc/x: cannot be",
        ),
    ],
)
def test_bad_input_is_refused(words: list[str], message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        called(*(word.replace("EMPTY", str(tmp_path)) for word in words))
    assert not list(tmp_path.iterdir())


def test_exit_code_of_a_missing_codec(tmp_path: Path):
    result = launched("experiments.codec", "encode", "gone.wav", "--codec", str(FOLDER))
    assert result.returncode == 2 and "no codec in" in result.stderr and result.stderr.count("\n") == 1


def test_decoding_offline_and_as_streams(voice_folder, tmp_path):
    with imported("experiments.codec") as launcher:
        codec, tokens = launcher.load_voice(str(voice_folder)), ids(40)
        waves = {how: launcher.speak(codec, tokens, codec.speaker, how) for how in ("offline", "stream", "release")}
        assert [len(wave) for wave in waves.values()] == [40 * 960] * 3
        assert launcher.read_ids(_saved(tmp_path / "a.npy", tokens), 128).dtype == np.int32
        for wrong, words in (
            (np.zeros((2, 2), int), "must hold whole numbers"),
            (np.array([128]), "a.npy: speech id 128 is outside"),
        ):
            with pytest.raises(InputError, match=words):
                launcher.read_ids(_saved(tmp_path / "a.npy", wrong), 128)
        with pytest.raises(InputError, match="gone.npy: not an array"):
            launcher.read_ids(str(tmp_path / "gone.npy"), 128)
        _unit_codec(tmp_path / "unit")
        with pytest.raises(InputError, match="is not a released voice"):
            launcher.load_voice(str(tmp_path / "unit"))


def test_encoding_of_recordings(voice_folder, tmp_path):
    wave = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    io.save_wav(tmp_path / "a.wav", wave, 16000)
    called(
        "experiments.codec", "encode", str(tmp_path / "a.wav"), f"--codec={voice_folder}", f"--out={tmp_path / 'ids'}"
    )
    found = np.load(tmp_path / "ids" / "a.npy")
    np.testing.assert_array_equal(found, load_codec(voice_folder).encode(io.load(tmp_path / "a.wav")))
    assert len(found) == 25


def _saved(file: Path, array: np.ndarray) -> str:
    np.save(file, array)
    return str(file)


def _unit_codec(folder: Path) -> None:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    UnitCodec.fit([noise], UnitCodecConfig(units=4, iterations=2)).save(folder)
