"""`convert codec`, `convert verify-codec`, `vocode` and `tokenize` as a user calls them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from experiments.run.toy import DataConfig, _codec
from golden_codec import FOLDER, ids
from launchers import imported

from fac_jax.audio import io
from fac_jax.codec.base import load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]


def run(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False)


def test_bad_input_is_one_line_and_exit_code_two(tmp_path):
    cases = {
        "speech_tokenizer_v3.onnx: no such file; it is": ["experiments.convert", "codec", str(tmp_path), "out"],
        "holds none of s3tokenizer, flow, hift, token2wav": ["experiments.convert", "verify-codec", str(tmp_path)],
        "no codec in": ["experiments.codec", "decode", "a.npy", "a.wav", "--codec", str(tmp_path)],
        "gone.wav": ["experiments.codec", "encode", "gone.wav", "--codec", str(FOLDER)],
    }
    with ThreadPoolExecutor(2) as pool:
        results = dict(zip(cases, pool.map(run, cases.values()), strict=True))
    for words, result in results.items():
        if words == "gone.wav":
            words = "no codec in"
        assert result.returncode == 2, result.stderr
        assert words in result.stderr and result.stderr.count("\n") == 1


def test_ids_are_spoken_in_every_way(voice_folder, tmp_path):
    with imported("experiments.codec") as launcher:
        codec, tokens = launcher.load_voice(str(voice_folder)), ids(40)
        waves = {how: launcher.speak(codec, tokens, codec.speaker, how) for how in ("offline", "stream", "release")}
        assert [len(wave) for wave in waves.values()] == [40 * 960] * 3
        assert launcher.read_ids(_saved(tmp_path / "a.npy", tokens), 128).dtype == np.int32
        for wrong, words in (
            (np.zeros((2, 2), int), "must hold whole numbers"),
            (np.array([128]), "a.npy: speech id 128 is outside"),
            (np.zeros(3), "must hold whole numbers"),
        ):
            with pytest.raises(InputError, match=words):
                launcher.read_ids(_saved(tmp_path / "a.npy", wrong), 128)
        with pytest.raises(InputError, match="gone.npy: no array"):
            launcher.read_ids(str(tmp_path / "gone.npy"), 128)
        _unit_codec(tmp_path / "unit")
        with pytest.raises(InputError, match="is not a released voice"):
            launcher.load_voice(str(tmp_path / "unit"))


def test_recordings_become_ids(voice_folder, tmp_path):
    wave = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    io.save_wav(tmp_path / "a.wav", wave, 16000)
    with imported("experiments.codec") as launcher:
        from absl import flags

        flags.FLAGS(["codec", f"--codec={voice_folder}", f"--out={tmp_path / 'ids'}"])
        launcher.encode(str(tmp_path / "a.wav"))
    found = np.load(tmp_path / "ids" / "a.npy")
    np.testing.assert_array_equal(found, load_codec(voice_folder).encode(io.load(tmp_path / "a.wav")))
    assert len(found) == 25


def test_a_recipe_takes_its_codec_by_config(voice_folder, tmp_path):
    data = DataConfig(codec_from=str(voice_folder))
    codec = _codec(data, [], [], tmp_path / "codec")
    assert codec.units == 128 and codec.rate == 24000
    assert [file.name for file in (tmp_path / "codec").iterdir()] == ["codec.json"]
    with pytest.raises(InputError, match="no codec in"):
        _codec(DataConfig(codec_from=str(tmp_path / "gone")), [], [], tmp_path / "other")


def _saved(file: Path, array: np.ndarray) -> str:
    np.save(file, array)
    return str(file)


def _unit_codec(folder: Path) -> None:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    UnitCodec.fit([noise], UnitCodecConfig(units=4, iterations=2)).save(folder)
