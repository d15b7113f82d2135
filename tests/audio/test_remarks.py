"""What is said about a wave before a model hears it."""

import json
from pathlib import Path

import numpy as np
import pytest

from fac_jax.audio.remarks import Heard, faults
from fac_jax.types import InputError

WAVE = 0.1 * np.sin(np.arange(16000) / 10).astype(np.float32)  # 1 s, -23 dB


@pytest.mark.parametrize(
    ("wave", "heard", "message"),
    [
        (WAVE, Heard(2.0), ""),
        (WAVE, Heard(2.0, (-30.0, -20.0)), ""),
        (np.tile(WAVE, 3), Heard(2.0), "is 3.0 s long: no row of training has more than 2 s of audio"),
        (0.05 * WAVE, Heard(2.0, (-30.0, -20.0)), "has a level of -49 dB: in training it was -30 to -20 dB"),
        (np.zeros(16000, np.float32), Heard(2.0, (-30.0, -20.0)), ""),
    ],
    ids=["as in training", "as loud", "longer", "quieter", "silent"],
)
def test_waves_unlike_those_of_training_are_named(wave: np.ndarray, heard: Heard, message: str) -> None:
    assert "; ".join(heard.remarks(wave)) == message


def test_silence_and_clipping_are_named() -> None:
    assert [name for name, _ in faults(np.zeros(100, np.float32))] == ["silent"]
    assert [name for name, _ in faults(np.clip(20 * WAVE, -1, 1))] == ["clipped"]
    assert faults(WAVE) == []


def test_a_file_keeps_what_was_heard_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    for heard in (Heard(2.0), Heard(3.5, (-30.0, -20.0))):
        heard.save(tmp_path / "heard.json")
        assert Heard.load(tmp_path / "heard.json") == heard
    (tmp_path / "heard.json").write_text(json.dumps({"seconds": "long"}))
    with pytest.raises(InputError, match=r"heard\.json is damaged"):
        Heard.load(tmp_path / "heard.json")
