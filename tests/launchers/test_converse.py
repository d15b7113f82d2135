"""`python -m experiments.converse`: a call of an untrained duplex model, and bad input as one line and exit code 2."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from launchers import called
from tiny_calls import write_models

from fac_jax.audio import io
from fac_jax.models.duplex import DuplexConfig
from fac_jax.types import InputError

EAGER = DuplexConfig(sinks=40, loudest_floor=-4.0, window=16, head_window=8, start_bias=50.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained models on disk, `duplex`, which opens a turn whenever it may, and `half`; and a recording."""
    folder = tmp_path_factory.mktemp("converse")
    write_models(folder, EAGER)
    noise = np.random.default_rng(0).normal(size=16000 * 3 - 1000).astype(np.float32) * 0.1
    io.save_wav(folder / "user.wav", noise)
    return folder


def test_both_sides_of_a_call_are_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The assistant's channel is silent but for its turns, whose sound lies in the slots that the JSON names."""
    out = folder / "both.wav"
    called(
        "experiments.converse",
        f"--checkpoint={folder / 'duplex'}",
        f"--user={folder / 'user.wav'}",
        f"--out={out}",
        "--after=1",
        "--temperature=1",
        "--stop_bias=1",
    )
    wave, rate = soundfile.read(out)
    found = json.loads(out.with_suffix(".json").read_text())
    size = round(rate * found["slot_seconds"])
    assert wave.shape == (20 * size, 2) and len(found["slots"]) == 20  # 2.9 s and 1 s of silence, in whole slots
    assert np.std(wave[: 14 * size, 0]) > 0.05 and not wave[15 * size :, 0].any()
    silent = np.ones(len(wave), bool)
    for turn in found["turns"]:
        groups = len(turn["units"])
        assert turn["begin"] == pytest.approx(0.2 * turn["opening"]) and turn["end"] > turn["begin"]
        assert (turn["heard"] is None) == (groups == 0)
        if groups:
            first = round(turn["heard"] / found["slot_seconds"]) * size
            silent[first : turn["closing"] * size] = False
            assert np.std(wave[first : first + size, 1]) > 1e-3
        assert found["slots"][turn["opening"]]["mode"] == "opening"
    assert len(found["turns"]) > 1 and not np.abs(wave[silent, 1]).max() > 1e-4
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    page = out.with_suffix(".html").read_text()
    assert (
        page.count("<svg") == 1 and page.count("data:audio/flac") == 1 and page.count("<tr>") == len(found["turns"]) + 1
    )
    assert capsys.readouterr().out.count("\n") == len(found["turns"])


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"checkpoint": "half"}, "takes turns and was not trained for calls: give a duplex checkpoint"),
        ({"checkpoint": "nothing"}, "nothing"),
        ({"user": "missing.wav"}, "audio file not found"),
        ({"out": "both.mp3"}, "name one that ends so"),
        ({"system": "what is two plus three " * 20}, "sinks for 1 to 40"),
    ],
)
def test_bad_input_is_named(folder: Path, changed: dict[str, str], line: str) -> None:
    asked = {"checkpoint": "duplex", "user": "user.wav", "out": "other.wav"} | changed
    given = [f"--{key}={value if key == 'system' else folder / value}" for key, value in asked.items()]
    with pytest.raises(InputError, match=line):
        called("experiments.converse", *given)
    assert not (folder / "other.wav").exists()
